"""What is written when a study has run: tables, pages, copies."""

from __future__ import annotations

from pathlib import Path

from rheobase.cli.results import ranking_of
from rheobase.cli.terminal import log
from rheobase.core.errors import ArtifactError
from rheobase.distributed.copies import copy_to_store
from rheobase.report.html import TEACHER_PAGE, write_report
from rheobase.report.tables import write_tables
from rheobase.report.teacher import write_teacher_page
from rheobase.study.ranking.ranking import Ranking
from rheobase.study.run_folder import RunFolder


def finish_run(folder: Path) -> tuple[Ranking, Path]:
    """Write a run's tables and pages; return its ranking and the path of its report."""
    ranking = ranking_of(folder)
    write_tables(ranking, folder)
    kept = RunFolder(folder)
    try:
        write_teacher_page(kept.latents(), kept.report / TEACHER_PAGE)
    except ArtifactError as error:  # stored latents may be of an earlier version
        log.print(f"no page of the teacher: {error}", markup=False, soft_wrap=True)
    page = write_report(folder)
    copy_to_store(kept)
    return ranking, page
