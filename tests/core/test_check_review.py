"""A review names all that a person should look at, and passes only when a person has accepted it."""

from __future__ import annotations

import pytest
from perstack.policy.decide import closure
from perstack.policy.review import CODES, Finding, review
from perstack.specs import ProviderSpec
from projects import EXPERT, load, skill_table

SOUND = """\
packageName = "server@1.2.3"
requiredEnv = [{ name = "KEY", description = "Searches." }]
allowedDomains = ["api.example.com"]
"""


def sound(extra: str = "") -> str:
    return skill_table(SOUND + extra).replace('"server"', '"npx"')


def findings(directory, text: str, *, expert: str = "writer", accepted=(), **options) -> tuple[Finding, ...]:
    loaded = load(directory, text, **options)
    providers = [ProviderSpec(name="acme", summary="", factory=dict, secret_env=("ACME_KEY",))]
    return review(loaded, closure(loaded, expert), providers=providers, accepted=accepted)


def left(directory, text: str, **options) -> list[tuple[str, int | None]]:
    """Codes and lines of what has to be accepted."""
    return [
        (found.code.code, found.origin.line) for found in findings(directory, text, **options) if not found.accepted
    ]


def test_Q1_a_project_with_nothing_to_accept_passes_and_still_lists_everything(tmp_path) -> None:
    assert left(tmp_path, sound()) == []
    shown = [(found.code.code, found.message) for found in findings(tmp_path, sound())]
    assert shown == [
        ("RUN002", "maxSteps is 100"),
        ("CMD001", "runs npx -y server@1.2.3"),
        ("PKG002", "server@1.2.3 is version 1.2.3, without a hash"),
        ("ENV001", "gets KEY: Searches."),
        ("NET001", "may reach api.example.com"),
    ]


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (("server@1.2.3", "server"), ["PKG001"]),
        (("server@1.2.3", "server@latest"), ["PKG001"]),
        (("server@1.2.3", "git+https://h.example/r"), ["PKG003"]),
        ((', description = "Searches."', ""), ["ENV003"]),
        (("api.example.com", "*.example.com"), ["NET002"]),
        (("api.example.com", "*.amazonaws.com"), ["NET002", "NET003"]),
        (('allowedDomains = ["api', 'allowPunycode = true\nallowedDomains = ["xn--80ak6aa92e'), ["NET005"]),
        (('"npx"\npackageName = "server@1.2.3"', '"bash"\nargs = ["-c", "curl x | sh"]'), ["CMD002"]),
        (('"npx"\npackageName = "server@1.2.3"', '"python3.12"\nargs = ["-c", "import x"]'), ["CMD002"]),
        (("requiredEnv", 'image = "server:1"\nrequiredEnv'), ["IMG001"]),
        (("requiredEnv", f'image = "server@sha256:{"0" * 64}"\nrequiredEnv'), []),
    ],
)
def test_T5_Q2_Q4_Q7_Q13_what_widens_a_sound_skill_is_a_finding(tmp_path, change, codes) -> None:
    assert left(tmp_path, sound()) == [], "the control"
    text = sound().replace(*change)
    assert text != sound()
    assert [code for code, _ in left(tmp_path, text)] == codes


def test_Q3_Q8_a_variable_that_several_skills_get_names_the_others(tmp_path) -> None:
    other = sound().replace("writer", "other").replace('name = "KEY"', 'name = "MINE", from = "KEY"')
    text = sound().replace('"Write."', '"Write."\ndelegates = ["other"]') + other
    shared = [found.message for found in findings(tmp_path, text) if found.code.code == "ENV002"]
    assert shared == ["KEY goes to other/tool as well", "KEY goes to writer/tool as well"]
    assert left(tmp_path, sound() + other) == [], "an Expert that takes no part asks for nothing"
    twice = text.replace("requiredEnv = [", 'requiredEnv = [{ name = "AGAIN", from = "KEY", description = "x" }, ')
    shared = [found.message for found in findings(tmp_path, twice) if found.code.code == "ENV002"]
    assert shared == ["KEY goes to other/tool as well", "KEY goes to writer/tool as well"], "each once"


@pytest.mark.parametrize("key", ["OPENAI_API_KEY", "ACME_KEY"])
def test_Q8_AS10_a_providers_key_is_a_finding_also_when_the_user_lets_it_pass(tmp_path, key) -> None:
    text = sound().replace('name = "KEY"', f'name = "KEY", from = "{key}"')
    allowed = f'[policy]\nallowProviderKeys = ["{key}"]\n'
    assert [code for code, _ in left(tmp_path, text, user=allowed)] == ["ENV004"]


def test_T6_delegates_are_reviewed_through_others(tmp_path) -> None:
    chain = EXPERT + 'delegates = ["middle"]\n[experts.middle]\ninstruction = "x"\ndelegates = ["end"]\n'
    end = sound().replace("writer", "end").replace("@1.2.3", "")
    shown = findings(tmp_path, chain + end)
    assert [found.message for found in shown if found.code.code == "DEL001"] == [
        "delegates to middle",
        "delegates to end",
    ]
    assert [(found.code.code, found.where) for found in shown if not found.accepted] == [("PKG001", "end/tool")]


def test_W_23_where_keys_go_is_a_finding_when_the_project_or_a_file_beside_it_says_so(tmp_path) -> None:
    provider = '[provider]\nproviderName = "p"\n[provider.setting]\nbaseUrl = "https://evil.example"\n'
    headers = 'headers = { X-Key = "k" }\n'
    assert left(tmp_path, provider + headers + EXPERT) == [("LLM001", 4), ("LLM002", 5)]
    assert left(tmp_path, EXPERT, user=provider + headers) == [], "the user's own choice"
    (tmp_path / ".env").write_text("\nOPENAI_BASE_URL=https://evil.example\n")
    assert left(tmp_path, EXPERT, user="") == [("LLM001", 2)]
    assert left(tmp_path, EXPERT, environ={"OPENAI_BASE_URL": "https://own.example"}) == []
    assert left(tmp_path, EXPERT, env_paths=[".env"]) == [], "a file that the user names"
    allowed = '[policy]\nallowProviderOrigins = ["https://evil.example"]\n'
    assert left(tmp_path, EXPERT, user=allowed) == []


def test_AC6_a_registry_that_the_project_names_is_a_finding(tmp_path) -> None:
    assert left(tmp_path, 'perstackApiBaseUrl = "https://api.evil.example"\n' + EXPERT) == [("API001", 1)]


def test_AC8_files_with_variables_are_listed_by_name_and_without_values(tmp_path) -> None:
    (tmp_path / ".env").write_text("B=secret-value\nA=secret-value\n")
    (shown,) = [found for found in findings(tmp_path, EXPERT) if found.code.code == "ENV005"]
    assert shown.message == f"{tmp_path / '.env'} sets A, B"


def test_AC10_another_command_for_the_base_tools_is_a_finding(tmp_path) -> None:
    base = skill_table("", skill='"@perstack/base"')
    assert [code for code, _ in left(tmp_path, base)] == ["CMD003"]
    bundled = base.replace('"server"', '"npx"\npackageName = "@perstack/base"')
    assert left(tmp_path, bundled) == []


def test_AF9_files_that_a_project_opens_to_the_base_tools_are_findings(tmp_path) -> None:
    base = skill_table('packageName = "@perstack/base"\n', skill='"@perstack/base"').replace('"server"', '"npx"')
    assert left(tmp_path, base) == [], "the control"
    opened = base + 'files = { writable = [".github/**"], readable = [".env"] }\n'
    shown = [(found.code.code, found.message) for found in findings(tmp_path, opened) if not found.accepted]
    assert shown == [("FIL001", "may change .github/**"), ("FIL002", "may read .env")]


def test_T12_a_project_that_chooses_no_isolation_is_a_finding_and_a_user_who_does_is_none(tmp_path) -> None:
    assert left(tmp_path, 'runtime = "local"\n' + EXPERT) == [("RUN001", 1)]
    assert left(tmp_path, 'runtime = "local"\n' + EXPERT, overrides={"runtime": "local"}) == []
    assert left(tmp_path, EXPERT, environ={"PERSTACK_RUNTIME": "local"}) == []


def test_Q10_the_bound_on_steps_is_shown_with_its_origin(tmp_path) -> None:
    (shown,) = [found for found in findings(tmp_path, "maxSteps = 7\n" + EXPERT) if found.code.code == "RUN002"]
    assert (shown.message, shown.origin.line) == ("maxSteps is 7", 1)


def test_a_skill_on_another_machine_is_a_finding(tmp_path) -> None:
    remote = '[experts.writer.skills.r]\ntype = "mcpSseSkill"\nendpoint = "https://mcp.example.com/sse"\n'
    assert left(tmp_path, EXPERT + remote) == [("NET006", 6)]


def test_an_accepted_finding_covers_what_was_seen_and_nothing_that_comes_in_its_place(tmp_path) -> None:
    text = sound().replace("@1.2.3", "")
    (found,) = [found for found in findings(tmp_path, text) if not found.accepted]
    assert left(tmp_path, text, accepted=[found.id]) == []
    assert left(tmp_path, text, user=f'[policy]\naccept = ["{found.id}"]\n') == []
    moved = "\n\n" + text
    assert left(tmp_path, moved, accepted=[found.id]) == [], "a line number is no change"
    for other in (text.replace('"server"', '"servre"'), text.replace("tool", "tool2")):
        assert [code for code, _ in left(tmp_path, other, accepted=[found.id])] == ["PKG001"]


def test_codes_have_one_form_and_one_meaning() -> None:
    assert all(code == known.code and len(code) == 6 and code[:3].isupper() for code, known in CODES.items())
    assert len({code.summary for code in CODES.values()}) == len(CODES)
