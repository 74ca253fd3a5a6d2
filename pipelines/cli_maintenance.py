"""Commands that look after what studies leave behind: check, send to MLflow, describe the machine, and remove."""

from pathlib import Path

from cyclopts import App

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
