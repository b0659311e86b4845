"""A machine with a real Linux kernel: Debian's, in qemu, on this machine's own files, read only."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KERNEL_OF = "linux-image-amd64"
"""The package whose dependency is Debian's kernel of today."""
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "usbip": "usbip",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}
"""Programs that are needed, and Debian's packages of them."""
MODULES = """
    virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover
    virtio_net netfs fscache 9pnet 9p 9pnet_virtio usb-common usbcore usbip-core vhci-hcd
"""
"""In the order in which they must be loaded."""
HOST_SEEN_FROM_INSIDE = "10.0.2.2"
WRITABLE_INSIDE = "/run"
"""All else is this machine's root, read only: a checkout may lie anywhere in it."""
PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"

INIT = """\
#!/busybox sh
/busybox mkdir -p /proc /dev /root
/busybox mount -t proc proc /proc
/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /busybox insmod /modules/$module.ko || echo "no module $module"; done
/busybox ifconfig lo 127.0.0.1 up
/busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose root /root
/busybox mount -t proc proc /root/proc
/busybox mount -t sysfs sys /root/sys
/busybox mount -t devtmpfs dev /root/dev
/busybox mount -t tmpfs run /root/run
/busybox chroot /root {command}
echo "init: the job ended with $?"
/busybox poweroff -f
"""


class Missing(Exception):
    """Something that is needed is not here; the text says what to do."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package."""

    name: str
    image: Path
    modules: Path


def check_tools() -> None:
    """Raises Missing with the packages to install."""
    lacking = sorted({package for tool, package in TOOLS.items() if _find(tool) is None})
    if lacking:
        raise Missing(
            f"install these packages of Debian first: apt-get install {' '.join(lacking)}"
        )


def get_kernel(folder: Path) -> Kernel:
    """Debian's kernel, by apt, kept in ``folder`` for the next time; raises Missing."""
    name = _kernel_package()
    unpacked = folder / name
    if not (unpacked / "complete").exists():
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir(parents=True)
        try:
            _run("apt-get", "download", "-q", name, cwd=unpacked)
            (package,) = unpacked.glob("*.deb")
            _run("dpkg-deb", "-x", str(package), ".", cwd=unpacked)
        except (subprocess.CalledProcessError, ValueError) as error:
            said = getattr(error, "stderr", "") or error
            raise Missing(f"apt-get could not bring {name}: {said}") from error
        package.unlink()
        (unpacked / "complete").touch()
    (image,) = unpacked.glob("boot/vmlinuz-*")
    return Kernel(name, image, unpacked)


def _kernel_package() -> str:
    shown = _run("apt-cache", "show", "--no-all-versions", KERNEL_OF).stdout
    for line in shown.splitlines():
        if line.startswith("Depends: linux-image-"):
            return line.split()[1].rstrip(",")
    raise Missing(f"apt knows no {KERNEL_OF}: run apt-get update first")


def write_initramfs(path: Path, kernel: Kernel, command: str) -> None:
    """The first file system: busybox, the modules, and a script that starts ``command``."""
    busybox = _find("busybox")
    assert busybox is not None
    files = [
        ("init", INIT.format(modules=" ".join(MODULES.split()), command=command).encode(), 0o755)
    ]
    files.append(("busybox", busybox.read_bytes(), 0o755))
    for name in MODULES.split():
        (module,) = kernel.modules.glob(f"**/{name}.ko*")
        if module.suffix != ".ko":
            raise Missing(f"the modules of {kernel.name} are compressed; busybox cannot load them")
        files.append((f"modules/{name}.ko", module.read_bytes(), 0o644))
    with path.open("wb") as archive:
        for number, (name, data, mode) in enumerate(
            [("modules", b"", stat.S_IFDIR | 0o755), *files, ("TRAILER!!!", b"", 0)]
        ):
            kind = 0 if stat.S_IFMT(mode) or not mode else stat.S_IFREG
            archive.write(b"".join(_entry(number, name, data, mode | kind)))


def _entry(number: int, name: str, data: bytes, mode: int) -> Iterator[bytes]:
    """One file of a cpio archive in the form `newc`."""
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % one for one in fields) + name.encode() + b"\0"
    for part in (head, data):
        yield part + bytes(-len(part) % 4)


def qemu_command(kernel: Kernel, initramfs: Path) -> Sequence[str]:
    """The machine: one processor in software, this machine's root read only, no way out."""
    qemu = _find("qemu-system-x86_64")
    arguments = "-accel tcg -cpu max -smp 1 -m 768 -nographic -nodefaults -serial stdio -no-reboot"
    share = "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
    append = "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off"
    return [
        *(str(qemu), *arguments.split()),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs), "-append", append),
        *("-fsdev", share, "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
        *("-netdev", "user,id=net,restrict=off", "-device", "virtio-net-pci,netdev=net,romfile="),
    ]


def _find(tool: str) -> Path | None:
    found = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{PATHS}")
    return Path(found) if found else None


def _run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
