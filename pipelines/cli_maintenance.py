"""Commands that look after what studies leave behind: check, send to MLflow, describe the machine, and remove."""

from pathlib import Path

from cyclopts import App

from robustkd import types

maintenance = App(help_format="plaintext")  # its commands are those of pipelines.cli


@maintenance.command(name="verify")
def verify_command(study: Path, /) -> None:
    """Check every file of a study against its checksums; exit with 1 if any is damaged or missing. Nothing is changed.

    Parameters
    ----------
    study
        The study's folder.
    """
    from pipelines.stages import verify as stage

    stage.main(study)


@maintenance.command(name="sync")
def sync_command(*studies: Path) -> None:
    """Send to MLflow what studies could not log while they ran, because the server was away.

    The store is the one that MLFLOW_TRACKING_URI names, or else the one that the study used.

    Parameters
    ----------
    studies
        Folders of studies or sweeps, or folders that contain some.
    """
    from pipelines.stages import sync as stage

    stage.main(studies)


@maintenance.command(name="doctor")
def doctor_command(*, out: Path = Path("studies"), json: bool = False) -> None:
    """Describe the installation and the machine, for bug reports. Exit 0: nothing is wrong, 1: a problem was found.

    Secrets, such as passwords in the address of the tracking store, are not printed.

    Parameters
    ----------
    out
        Folder to which studies are written.
    json
        Print JSON.
    """
    from pipelines.stages import doctor as stage

    stage.main(out, json)


@maintenance.command(name="clean")
def clean_command(*, out: Path = Path("studies"), days: types.NonNegative = 30, yes: bool = False) -> None:
    """List old caches of decoded images and superseded studies. Nothing is removed without --yes or a confirmation.

    A study is superseded if no command continues it: --fresh replaced it, or an older version of robustkd made it, whose files
    or results this one does not use. Studies that contain other files, or that a command is at work on, are kept.

    Parameters
    ----------
    out
        Folder with the studies.
    days
        Days for which decoded images were not used.
    yes
        Remove what is listed.
    """
    from pipelines.stages import clean as stage

    stage.main(out, days, yes)
