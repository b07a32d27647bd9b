"""What we accept beyond cryptography: TCB words, known modules, reference values.

A policy is data with a version; a stored verdict names the version it was made under.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VERSION = 1

#: MRSEAM -> release of Intel's TDX module (attestation.md 4). Unknown is a warning only: the module
#: identity in the TCB info already covers authenticity and age.
TDX_MODULES = {
    "49b66faa451d19ebbdbe89371b8daf2b65aa3984ec90110343e9e2eec116af08850fa20e3b1aa9a874d77a65380ee7e6": "TDX 1.5.08",  # noqa: E501
    "7bf063280e94fb051f5dd7b1fc59ce9aac42bb961df8d44b709c9b0ff87a7b4df648657ba6d1189589feab1d5a3c9a9d": "TDX 1.5.16",  # noqa: E501
    "fca4ff221293807e3d247416299ca39a236872df4eb414567ca96072d3fde7dead740f807eefe2f7d938499c03cc8aba": "TDX 1.5.25",  # noqa: E501
    "685f891ea5c20e8fa27b151bf34bf3b50fbaf7143cc53662727cbdb167c0ad8385f1f6f3571539a91e104a1c96d75e04": "TDX 2.0.02",  # noqa: E501
    "476a2997c62bccc78370913d0a80b956e3721b24272bc66c4d6307ced4be2865c40e26afac75f12df3425b03eb59ea7c": "TDX 2.0.08",  # noqa: E501
    "aef4ed3e686fe6cf44c9a8d1cc63105443b558ac4f40c282abf78271e9a4586c50408c8584c7b43fd21edb736700ba5f": "TDX 2.0.14",  # noqa: E501
}

#: Intel's words for a TCB level, mildest first; the merged status is the worst of its parts.
TCB_WORDS = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)


#: Registers that a reference file can name, in the order of a boot.
REGISTERS = ("mr_td", "rtmr0", "rtmr1", "rtmr2")


@dataclass(frozen=True)
class Known:
    """Whose word a reference value is, and where it was published ("" where nobody says)."""

    label: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.label}, {self.source}" if self.source else self.label


@dataclass(frozen=True)
class Boot:
    """Registers of one published guest image, together: half of one and half of another is none.

    rtmr0 depends on the machine's shape, so an entry may leave it out (attestation.md 6.3).
    """

    about: Known
    registers: Mapping[str, str]

    def is_of(self, measured: Mapping[str, str]) -> bool:
        return all(measured.get(name) == value for name, value in self.registers.items())


@dataclass(frozen=True)
class References:
    """The file that the lists of a policy come from, as it was read."""

    about: Known
    sha256: str
    body: bytes


@dataclass(frozen=True)
class Policy:
    """`tcb_pass` and `tcb_warn` are words of attestation.md 5; every other word fails.

    `boots`, `images`, `composes` and `kms_keys` (by digest) are published values; None means that
    we keep no such list, so nothing is judged by it. `cryptopilot` maps load_config and
    fde_rootfs_hash to accepted texts. All of them come from `references` (engine.references).
    """

    tcb_pass: tuple[str, ...] = TCB_WORDS[:1]
    tcb_warn: tuple[str, ...] = TCB_WORDS[1:-1]
    min_tcb_evaluation: int | None = None
    tdx_modules: Mapping[str, str] = field(default_factory=lambda: TDX_MODULES)
    references: References | None = None
    boots: tuple[Boot, ...] | None = None
    composes: Mapping[str, Known] | None = None
    kms_keys: Mapping[str, Known] | None = None
    images: Mapping[str, Known] | None = None
    cryptopilot: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


DEFAULT = Policy()
