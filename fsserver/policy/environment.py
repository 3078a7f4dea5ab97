"""Environment variables that a policy must not pass on or set: through them others would choose what a program runs."""

from __future__ import annotations

import re
from typing import Final

from fsserver.policy.problems import Code, LanguageError

# Every command has its own of these; they belong to the sandbox.
GIVEN: Final = ("PATH", "HOME", "TMPDIR")

# The dynamic loader's: ld.so(8), dyld(1).
_LOADER: Final = r"LD_.*|DYLD_.*|GLIBC_TUNABLES"

# Interpreters, build tools and libraries run, load or obey what these name. Whoever starts the server may have any of
# them in the environment for reasons of their own, so none is passed on; a policy can set one in words.
_HOOKS: Final = re.compile(
    "|".join(
        (
            *(
                r"GIT_.*",
                r"SSH_.*",
                r"BASH_.*",
                r"ENV",
                r"SHELLOPTS",
                r"BASHOPTS",
                r"PS[0-4]",
                r"PROMPT_COMMAND",
                r"IFS",
            ),
            *(r"CDPATH", r"ZDOTDIR", r"FPATH", r"PYTHON.*", r"PIP_.*", r"UV_.*", r"VIRTUAL_ENV", r"NODE_.*", r"NPM_.*"),
            *(r"YARN_.*", r"COREPACK_.*", r"PERL.*", r"RUBY.*", r"GEM_.*", r"BUNDLE_.*", r"PHP.*", r"LUA_.*", r"TCL.*"),
            *(
                r"JAVA_.*",
                r"_JAVA_.*",
                r"JDK_JAVA_.*",
                r"CLASSPATH",
                r"MAVEN_.*",
                r"GRADLE_.*",
                r"MAKE.*",
                r"GNUMAKEFLAGS",
            ),
            *(r"MFLAGS", r"CARGO_.*", r"RUST.*", r"GO.*", r"CC", r"CXX", r"CPP", r"AR", r".*FLAGS", r"PKG_CONFIG.*"),
            *(r".*_PROXY", r"RIPGREP_CONFIG_PATH", r"FZF_.*", r"GREP_OPTIONS", r"TAR_OPTIONS", r"RSYNC_.*", r"AWKPATH"),
            *(
                r"EDITOR",
                r"VISUAL",
                r"PAGER",
                r".*_PAGER",
                r"LESS.*",
                r"MANPAGER",
                r"BROWSER",
                r"DISPLAY",
                r"WAYLAND_.*",
            ),
            *(r"DBUS_.*", r"XDG_.*", r"GCONV_PATH", r"LOCPATH", r"NLSPATH", r"TERMINFO.*", r"TERMCAP", r"HOSTALIASES"),
            *(
                r"RES_OPTIONS",
                r"LOCALDOMAIN",
                r"MALLOC_.*",
                r"OPENSSL_.*",
                r"SSL_.*",
                r"GPG_.*",
                r"GNUPGHOME",
                r"DOCKER_.*",
            ),
        )
    ),
    re.IGNORECASE,
)


def check_passed(name: str) -> None:
    """Raise `LanguageError` if the server's own variable must not reach a command."""
    check_set(name)
    if _HOOKS.fullmatch(name):
        message = f"{name} can make a program load or run something else, so it is not passed on"
        raise LanguageError(Code.ENVIRONMENT, message, f"if the command needs it, write its value: set: {{{name}: …}}")


def check_set(name: str) -> None:
    """Raise `LanguageError` if a policy must not set the variable."""
    _refuse_given(name)
    if re.fullmatch(_LOADER, name, re.IGNORECASE):
        message = f"{name} makes the dynamic loader load something else"
        raise LanguageError(Code.ENVIRONMENT, message, "runtime: names directories that a program reads")


def _refuse_given(name: str) -> None:
    if name in GIVEN:
        message = f"{name} is the sandbox's own in every command"
        raise LanguageError(Code.ENVIRONMENT, message, f"{', '.join(GIVEN)} cannot be passed or set")
