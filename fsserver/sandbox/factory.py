"""What cells are made of: profiles, users, groups, directories, protected names; and making one. For the launcher."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Mapping
from typing import Final

from fsserver.errors import CommandUnconfined, SandboxSetupError
from fsserver.kernel import constants as c
from fsserver.kernel import namespaces, watches
from fsserver.kernel.features import Features
from fsserver.kernel.namespaces import Namespace
from fsserver.policy.compiled import Command, Home, Layer, PinnedProgram, SoughtProgram
from fsserver.policy.decision import may_contain_protected
from fsserver.sandbox import cell, cell_mounts, messages, skeleton
from fsserver.sandbox.bootstrap import Bootstrap
from fsserver.sandbox.cell import Blueprint
from fsserver.sandbox.cell_plan import USER_NAME, RootFacts, plan_cell
from fsserver.sandbox.cell_profile import Bind, CellProfile, Ids
from fsserver.sandbox.cgroup import Groups, Leaf
from fsserver.sandbox.command_gaps import gaps_of
from fsserver.sandbox.host import look_around
from fsserver.sandbox.pool import Cell, Generation, Pool
from fsserver.sandbox.profile import available_layer
from fsserver.sandbox.protected import MAX_WATCHED, ProtectedIndex, ProtectedName
from fsserver.sandbox.quarantine import Quarantine
from fsserver.sandbox.scratch import ScratchSpace
from fsserver.sandbox.users import NOBODY_ELSE, Maps, choose

# The cell leaves the others by itself, beside this process.
_FROM_THE_START: Final = Namespace.USER | Namespace.PID
_NONE: Final = Namespace(0)

_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
# Where a root's commands have their directories in the `landlock` layer: root's own state is closed to other users.


class Factory:
    """Holds what all cells share. For the launcher's one thread.

    Attributes:
        commands: all that can be run, by name.
        indexes: of the protected names of each root, by its name.
        spellings: the absolute paths of each root, as clients know them.

    Raises:
        SandboxSetupError: a root is not what the server opened.
    """

    def __init__(self, start: Bootstrap, features: Features) -> None:
        _allow_many_descriptors()
        self.policy = start.policy
        self.commands = start.commands
        self.run_id = start.run_id
        self._start = start
        self._features = features
        self._host = look_around(start.home)
        self._ids: Ids = (os.geteuid(), os.getegid())
        self._maps = Maps((NOBODY_ELSE, NOBODY_ELSE))
        self._groups = Groups.open(start.run_id, {os.getppid()})
        self._missing: set[str] = set()
        self._uncovered: set[str] = set()  # roots whose protected names are too many to be covered
        self._unlisted: set[str] = set()  # those that cannot even be looked through; not tried again for a search
        self._emptied: list[Leaf] = []
        self._environments = {name: self._environment(each) for name, each in self.commands.items()}
        self._profiles: list[CellProfile] = []
        self._scratch = ScratchSpace(self.policy.state, start.run_id, root=self._ids[0] == 0)
        used = {root for command in self.commands.values() for root in command.roots}
        self.spellings = {root.name: root.spellings for root in start.roots}
        self.indexes: dict[str, ProtectedIndex] = {}
        self._roots: dict[str, RootFacts] = {}
        rules = {root.name: root for root in self.policy.roots}
        for root in start.roots:
            if root.name not in used:
                continue
            descriptor = os.open(root.path, c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != root.identity:
                raise SandboxSetupError(f'The root "{root.name}" was replaced while the server started.')
            owner = (status.st_uid, status.st_gid)
            protected = may_contain_protected(rules[root.name])
            self._roots[root.name] = RootFacts(root.name, root.path, root.identity, owner, protected, root.spellings)
            self.indexes[root.name] = ProtectedIndex(
                rules[root.name],
                descriptor,
                folds=root.folds,
                # Half of what this user may have watched: editors watch, too.
                most_watched=min(MAX_WATCHED, watches.most() // 2 // len(used)),
            )

    def pools(self, layer: Layer) -> dict[str, Pool]:
        """A pool for each command, the same one for commands whose cells are alike.

        Raises:
            SandboxSetupError: this machine does not have the layer, or a command could only run as root.
        """
        if (
            layer is not Layer.NONE
            and available_layer(self._features.landlock_abi, seccomp=self._features.seccomp) is Layer.NONE
        ):
            raise SandboxSetupError("the kernel has no Landlock of ABI 3, or no seccomp")
        pools: dict[CellProfile, Pool] = {}
        by_name: dict[str, Pool] = {}
        for command in self.commands.values():
            profile = self._profile(command, layer)
            pool = pools.setdefault(profile, Pool(profile))
            pool.commands[command.name] = command
            by_name[command.name] = pool
        self._profiles = list(pools)
        return by_name

    def _profile(self, command: Command, layer: Layer) -> CellProfile:
        roots = [self._roots[name] for name in command.roots]
        home: tuple[str, Ids] | None = None
        if command.home is Home.KEPT:
            home = (self._keep(self.policy.kept_home(command.name)), self._ids)
        shown = [(each.path, each.owner) for each in roots] + ([home] if home is not None else [])
        mapped = self._ids[0] == 0 and layer is Layer.FULL and all(self._maps.can_map(*each) for each in shown)
        user = choose(
            self._ids,
            [each.owner for each in roots],
            mapped=mapped,
            accept_uid0=self.policy.sandbox.accept_uid0,
        )
        if home is not None and user is not None and not mapped:
            os.chown(home[0], *user.outside)
        return plan_cell(
            command,
            layer=layer,
            roots=self._roots,
            host=self._host,
            launcher=self._ids,
            user=user,
            mapped=mapped,
            kept_home=home,
            hidden=self._hidden(command),
            features=self._features,
        )

    def _hidden(self, command: Command) -> tuple[tuple[str, tuple[int, int]], ...]:
        """Roots that the command is not granted, in directories that it sees for another reason."""
        granted = [self._roots[name].path for name in command.roots]
        seen = [*self._host.directories, *command.runtime]
        if isinstance(command.program, PinnedProgram) and command.program.prefix is not None:
            seen.append(command.program.prefix)
        return tuple(
            (root.path, root.identity)
            for root in self._start.roots
            if root.name not in command.roots
            and any(root.path.startswith(f"{directory}/") for directory in seen)
            and not any(f"{root.path}/".startswith(f"{path}/") for path in granted)
        )

    def _environment(self, command: Command) -> dict[str, str]:
        """Everything but HOME and TMPDIR, which depend on the layer."""
        program = command.program
        path = _PATH
        if isinstance(program, PinnedProgram) and program.prefix is not None:
            path = f"{program.prefix}/bin:{path}"
        passed = {name: self._start.environment[name] for name in command.passed if name in self._start.environment}
        user = {"USER": USER_NAME, "LOGNAME": USER_NAME, "LANG": "C.UTF-8"}
        return {"PATH": path, **user, **command.environment, **passed}

    def writable_roots(self) -> bool:
        """Whether some command may write to some root."""
        return any(root.writable for profile in self._profiles for root in profile.roots)

    def open_quarantine(self) -> Quarantine:
        """Where protected names go that commands make."""
        return Quarantine.open(self._keep(self.policy.state))

    # --- Protected names

    def refresh(self, profile: CellProfile, *, everywhere: bool = False) -> None:
        """Look what is protected now.

        Args:
            everywhere: as `ProtectedIndex.refresh`.

        Raises:
            SandboxSetupError: too much to look through, or too many names, and `CellProfile.judged` does not hold.
        """
        for root in profile.roots:
            if profile.judged:
                self._refresh_judged(root.name, everywhere=everywhere)
                continue
            self.indexes[root.name].refresh(everywhere=everywhere)
            self.indexes[root.name].require_few()

    def _refresh_judged(self, root: str, *, everywhere: bool) -> None:
        index = self.indexes[root]
        if root in self._unlisted:
            return
        try:
            index.refresh(everywhere=everywhere)
        except SandboxSetupError:
            self._unlisted.add(root)
            return
        try:
            index.require_few()
            self._uncovered.discard(root)
        except SandboxSetupError:
            self._uncovered.add(root)

    def _covered(self, profile: CellProfile) -> Mapping[str, ProtectedIndex]:
        """The indexes by which a cell covers protected names."""
        without = self._unlisted | self._uncovered if profile.judged else frozenset[str]()
        return {name: index for name, index in self.indexes.items() if name not in without}

    def generation(self, profile: CellProfile) -> Generation:
        return tuple(self.indexes[root.name].generation for root in profile.roots)

    def names(self, profile: CellProfile) -> dict[str, tuple[ProtectedName, ...]]:
        return {root.name: self.indexes[root.name].names for root in profile.roots}

    def require_protection(self, command: Command, profile: CellProfile) -> None:
        """Refuse a command whose roots have protected names where nothing can hide them from it, and one that nothing
        pins where nothing confines it. What a search of fsserver's own finds is judged name by name by the server.

        Raises:
            CommandUnconfined: and the policy does not accept that.
        """
        if profile.layer is Layer.NONE and isinstance(command.program, SoughtProgram):
            raise CommandUnconfined(
                "This machine has no sandbox, and a program that is content of a root runs in a sandbox only.",
                rule=str(command.origin),
                allowed_instead="a command whose `exec` is an absolute path",
            )
        if profile.layer is Layer.FULL or self.policy.sandbox.accept_unprotected or command.own:
            return
        if profile.hidden:
            raise CommandUnconfined(
                "This machine has no user namespaces, so a root in a system directory cannot be hidden."
            )
        for root in profile.roots:
            if self._roots[root.name].protected:
                raise CommandUnconfined(
                    f'This machine has no user namespaces, so protected names in the root "{root.name}" cannot be kept '
                    "from commands.",
                    allowed_instead="file tools; commands, if the policy says `sandbox: {accept_unprotected: true}`",
                )

    # --- Cells

    def build(self, pool: Pool) -> Cell:
        """Begin to make a cell. It says by itself when it is ready, or what failed. Raises ``OSError``."""
        profile = pool.profile
        full = profile.layer is Layer.FULL
        scratch = None if full else self._scratch.make(profile.user.outside if profile.user is not None else None)
        if full and pool.skeleton is None:
            pool.skeleton = skeleton.make(profile, self._scratch.directory())
        trees = self._open_trees(pool) if full and self._ids[0] == 0 else []
        try:
            ours, theirs = messages.pair()
        except OSError:
            cell_mounts.close_trees(trees)
            raise
        leaf = None
        try:
            leaf = self._leaf(profile)
            blueprint = Blueprint(
                profile,
                pool.commands,
                self._environments,
                self._covered(profile),
                trees,
                pool.skeleton,
                scratch,
                leaf,
                self._ids,
            )
            # The others take longer, and each cell makes them for itself, beside this process.
            pid = _fork(full=full)
            if pid == 0:
                ours.close()  # else it would not hear that this process ended
                cell.live(blueprint, theirs)
        except BaseException:
            ours.close()
            if leaf is not None:
                leaf.remove()
            raise
        finally:
            theirs.close()
            cell_mounts.close_trees(trees)
        try:
            if full and profile.user is not None:
                namespaces.map_user(str(pid), profile.user.inside, profile.user.outside, keep_groups=True)
            messages.send(ours, ["go", "hurry" if pool.hurried else ""])
            return Cell(pool, pid, os.pidfd_open(pid), ours, self.generation(profile), leaf, scratch)
        except BaseException:
            ours.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if leaf is not None:
                leaf.remove()
            raise

    def _open_trees(self, pool: Pool) -> list[tuple[Bind, int]]:
        """What only root may reach, or show as another user's. A cell is not root any more when it opens the rest."""
        own = [bind for bind in pool.profile.binds if not bind.system]
        if pool.skeleton is not None:
            own.append(pool.skeleton.bind)
        return cell_mounts.open_trees(own, self._maps.namespace_for, without_gone=pool.profile.judged)

    def _leaf(self, profile: CellProfile) -> Leaf | None:
        """Its group, with room for the processes that are not the command's, and for the one more that tells that
        the command had too many.
        """
        if self._groups is None:
            return None
        outside = self._ids if profile.user is None else profile.user.outside
        if profile.layer is Layer.FULL and outside[0] != 0:
            # In its own user namespace the kernel counts a command's processes apart, but not those of user 0.
            return self._groups.leaf(profile.memory_bytes, None)
        own = 0 if profile.layer is Layer.FULL else 1
        return self._groups.leaf(profile.memory_bytes, profile.processes + own + 1)

    def clear(self, ended: Cell) -> None:
        """Take away what was made for a cell that is gone; its group later, see `tidy`."""
        if ended.leaf is not None:
            self._emptied.append(ended.leaf)
        if ended.scratch is not None:
            self._scratch.remove(ended.scratch)

    def tidy(self) -> None:
        """Remove the groups of cells that are gone. While another cell enters its own, that waits some milliseconds."""
        while self._emptied:
            leaf = self._emptied.pop()
            if not leaf.remove(patience_s=0.0):
                leaf.kill()  # in the landlock layer a process may have outlived both who watched it
                leaf.remove()

    def close(self) -> None:
        """Take away what was made for all of them."""
        self.tidy()
        if self._groups is not None:
            self._groups.close()
        self._scratch.close()

    def note(self, missing: list[str]) -> None:
        """What a cell could not have on this machine, by its code."""
        self._missing.update(missing)

    def gaps(self, layer: Layer) -> list[str]:
        """What the layer does not stop here, each completing "not enforced: …"."""
        texts = gaps_of(layer, self._features)
        if "proc" in self._missing:
            texts.append(
                "limits of memory and processes that need /proc: this machine does not let a cell mount its own"
            )
        return texts

    def _keep(self, path: str) -> str:
        os.makedirs(path, 0o700, exist_ok=True)
        return os.path.realpath(path)


def _fork(*, full: bool) -> int:
    try:
        return namespaces.fork_into(_FROM_THE_START if full else _NONE)
    except OSError as error:
        if not full or error.errno not in (errno.EPERM, errno.ENOSPC, errno.EUSERS, errno.EINVAL):
            raise
        # ENOSPC is "No space left on device", which it is not about.
        name = errno.errorcode[error.errno]
        raise SandboxSetupError(f"this user can make no user namespaces here, user_namespaces(7) ({name})") from error


def _allow_many_descriptors() -> None:
    """As many as this process may have: a command that waits for its cell holds four, one that runs three."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
