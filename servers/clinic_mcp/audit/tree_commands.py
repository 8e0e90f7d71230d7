"""`clinic-mcp audit sequence|checkpoint|rotate-key`: the tree grows, is signed, and gets another key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_record

if TYPE_CHECKING:
    from clinic_mcp.audit.sequencer import Sequencer


@friendly
def sequence(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C or SIGTERM.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give the pending events their place in the tree and sign a checkpoint.

    The consultations service does this by itself; here for a clinic that runs without it, and for now rather than soon.
    """
    from dataclasses import asdict

    from clinic_mcp.audit.sequencer import Sequencer
    from clinic_mcp.core import log as logging
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    logging.configure(settings.log_level)
    database = Database(settings.url)
    try:
        sequencer = Sequencer(settings, database)
        step = sequencer.step(at_once=True)
        if as_json:
            show_json(asdict(step))
        else:
            show_record("Tree", {"events sequenced": step.sequenced, "signed at": step.signed or "not grown"})
        if watch:
            _watch(sequencer)
    finally:
        database.close()


def _watch(sequencer: Sequencer) -> None:
    import signal
    import threading

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    say("Sequencing; Ctrl-C stops it.")
    sequencer.run(stop)


@friendly
def checkpoint(as_json: AsJson = False) -> None:
    """Print the newest signed checkpoint: three lines and a signature, without patient data, to print or mail."""
    from clinic_mcp.audit import tree
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.errors import Unavailable
    from clinic_mcp.core.settings import Settings

    database = Database(Settings().url)
    try:
        with database.read() as connection:
            newest = tree.latest_checkpoint(connection)
    finally:
        database.close()
    if newest is None:
        raise Unavailable("The log has no checkpoint yet.", "Run `clinic-mcp audit sequence`.")
    if as_json:
        show_json({"size": newest.size, "root": newest.root, "recorded": newest.recorded, "note": newest.note})
    else:
        typer.echo(newest.note, nl=False)


@friendly
def rotate_key(as_json: AsJson = False) -> None:
    """Sign checkpoints with a new key from now on; those signed before stay verifiable. No process is started again.

    Give the new line of `keys/checkpoints.pub` to whoever keeps the public key elsewhere.
    """
    from dataclasses import asdict

    from clinic_mcp.audit import keys
    from clinic_mcp.audit.checkpoint import origin_of
    from clinic_mcp.consultations.operator import as_operator

    with as_operator() as operator:

        def record(made: keys.Rotation) -> None:
            operator.log.append(operator.event("audit.key_rotated", keys=asdict(made)))

        made = keys.rotate(operator.settings.keys, origin_of(operator.settings.id), record)
    if as_json:
        show_json(asdict(made))
    else:
        show_record("Key for checkpoints replaced", asdict(made))
