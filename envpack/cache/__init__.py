"""What was downloaded and made before, by content.

    ROOT/archives/SHA256-FILENAME   a package archive; one file each, as file systems count them
    ROOT/blobs/sha256/DIGEST        a blob of an image: manifest, configuration, layer
    ROOT/segments/KEY               a part of a file system image, by the key of all it was made from
    ROOT/layers/KEY                 which blob is the layer made from that key: {diff_id, digest, size}
    ROOT/repodata/, ROOT/solver/    what solvers keep for themselves
    ROOT/tmp/NAME/                  a running command's own files
    ROOT/tmp/NAME.lock              held (flock) by that command for as long as it lives
    ROOT/prune.lock                 held for a moment: shared to say what is used, alone to remove

An archive or a blob under its final name is whole and was verified before it got that name, so builds trust
it; ``envpack cache verify`` is for those who trust their disk less. A segment has checksums of its own, which
are compared at every use, and so need not be on the disk when it gets its name. ``FILENAME.part`` beside a
final name is a download that goes on with the next run. Everything else that a killed command leaves behind
is in its folder below ``tmp``, whose lock the system lets go of; the next command removes such folders. Where
the file system has no locks they stay.

When a file was last used is its modification time, which :meth:`Cache.use` sets: access times are not kept on
most mounts. A command that relies on what it finds has a temporary folder from the start; what it uses is
therefore newer than its ``tmp/NAME.lock``, and :mod:`envpack.cache.stock` removes only what is older than
every such file that is held.
"""

from envpack.cache.store import Cache, archive_name, cannot_write

__all__ = ["Cache", "archive_name", "cannot_write"]
