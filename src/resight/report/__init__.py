"""A report of runs: one self-contained HTML file."""

from resight.report.page import check_report_file, write_report

__all__ = ["check_report_file", "write_report"]
