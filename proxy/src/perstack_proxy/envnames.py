"""Which environment variables pass to a skill on their own, and which nobody may set from outside.

`SAFE_NAMES` pass without being asked for. Protected names decide what code a program loads or runs, so neither a
tool's input nor a skill's `requiredEnv` may set them. Names that only identify or authenticate (`GIT_AUTHOR_NAME`,
tokens) are not protected: a skill may ask for them.
"""

from __future__ import annotations

from typing import NamedTuple

#: Passed from the host if they have a value; compared with their exact case. The requirement's 14, in its order.
SAFE_NAMES = (
    "PATH",
    "HOME",
    "SHELL",
    "TERM",
    "NODE_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "PERSTACK_PROXY_URL",
    "NPM_CONFIG_PROXY",
    "NPM_CONFIG_HTTPS_PROXY",
)

#: Read by a shell before its first command. Never inherited by a command and never set for one.
SHELL_INIT_NAMES = ("BASH_ENV", "ENV", "IFS", "CDPATH")


class NameGroup(NamedTuple):
    """Protected names that share a reason.

    Attributes:
        reason: What setting one of them would allow; completes "a protected name: it …".
        names: Whole names, upper case.
        prefixes: Beginnings of names, upper case.
    """

    reason: str
    names: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


PROTECTED_GROUPS = (
    NameGroup("decides which programs and modules are found", ("PATH", "HOME", "SHELL", "NODE_PATH")),
    NameGroup(
        "makes the dynamic linker or the C library load code or data",
        (
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "DYLD_LIBRARY_PATH",
            "GCONV_PATH",
            "GETCONF_DIR",
            "GLIBC_TUNABLES",
            "HOSTALIASES",
            "LOCALDOMAIN",
            "LOCPATH",
            "MALLOC_TRACE",
            "NLSPATH",
            "RESOLV_HOST_CONF",
            "RES_OPTIONS",
        ),
        ("LD_", "DYLD_"),
    ),
    NameGroup(
        "changes what a shell runs or how it reads a command",
        (*SHELL_INIT_NAMES, "BASHOPTS", "SHELLOPTS", "PROMPT_COMMAND", "PS4", "ZDOTDIR"),
        ("BASH_FUNC_",),
    ),
    NameGroup(
        "makes an interpreter load code or options",
        (
            "NODE_OPTIONS",
            "NODE_REPL_EXTERNAL_MODULE",
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PYTHONBREAKPOINT",
            "PYTHONEXECUTABLE",
            "PYTHONINSPECT",
            "PYTHONPLATLIBDIR",
            "PYTHONPYCACHEPREFIX",
            "PYTHONUSERBASE",
            "PYTHONWARNINGS",
            "PYTHON_GIL",
            "PERL5LIB",
            "PERL5OPT",
            "PERL5DB",
            "PERLLIB",
            "PERL5SHELL",
            "RUBYLIB",
            "RUBYOPT",
            "RUBYSHELL",
            "GEM_HOME",
            "GEM_PATH",
            "BUNDLE_GEMFILE",
            "JAVA_TOOL_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "_JAVA_OPTIONS",
            "CLASSPATH",
            "MAVEN_OPTS",
            "GRADLE_OPTS",
            "DOTNET_STARTUP_HOOKS",
            "CORECLR_PROFILER",
            "CORECLR_ENABLE_PROFILING",
            "PHPRC",
            "PHP_INI_SCAN_DIR",
            "LUA_INIT",
            "LUA_PATH",
            "LUA_CPATH",
            "TCLLIBPATH",
            "R_PROFILE",
            "R_PROFILE_USER",
            "R_ENVIRON",
            "R_ENVIRON_USER",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "GOFLAGS",
            "MAKEFLAGS",
            "AWKPATH",
        ),
        ("LUA_INIT_", "COMPLUS_"),
    ),
    NameGroup(
        "makes git run a program or read another configuration",
        (
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_ASKPASS",
            "GIT_COMMON_DIR",
            "GIT_DIR",
            "GIT_EDITOR",
            "GIT_EXEC_PATH",
            "GIT_EXTERNAL_DIFF",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_PAGER",
            "GIT_PROXY_COMMAND",
            "GIT_PROXY_SSL_CERT",
            "GIT_SEQUENCE_EDITOR",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_SSL_NO_VERIFY",
            "GIT_TEMPLATE_DIR",
            "GIT_WORK_TREE",
        ),
        ("GIT_CONFIG",),
    ),
    NameGroup(
        "names a program that other programs start",
        ("BROWSER", "EDITOR", "LESSCLOSE", "LESSOPEN", "MANPAGER", "PAGER", "SSH_ASKPASS", "SUDO_ASKPASS", "VISUAL"),
    ),
    NameGroup("changes which certificates are trusted", ("NODE_EXTRA_CA_CERTS", "NODE_TLS_REJECT_UNAUTHORIZED")),
)

#: Every protected whole name, upper case; the requirement's 12 are among them.
PROTECTED_NAMES = tuple(dict.fromkeys(name for group in PROTECTED_GROUPS for name in group.names))

_VALID = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789")


def protected_reason(name: str) -> str | None:
    """Why nobody may set this name, in any case, or None if it is not protected."""
    upper = name.upper()
    for group in PROTECTED_GROUPS:
        if upper in group.names or upper.startswith(group.prefixes):
            return group.reason
    return None


def is_protected(name: str) -> bool:
    """Whether nobody may set this name; the case of its letters does not matter."""
    return protected_reason(name) is not None


def is_valid_name(name: str) -> bool:
    """Whether this is a portable name: ASCII letters, digits and underscores, no digit first, at most 255."""
    return 0 < len(name) <= 255 and _VALID.issuperset(name) and not name[0].isdigit()
