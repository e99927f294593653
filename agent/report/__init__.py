"""What happened in a run, as a page, a memo, a document and a test suite; pure functions of the record.

Must not read settings, files of a run, or the clock: whatever a report says stands in the record.
"""

from agent.report.document import SCHEMA_ID, from_json, json_text, schema
from agent.report.memo import markdown
from agent.report.page import html
from agent.report.suite import junit

__all__ = ["SCHEMA_ID", "from_json", "html", "json_text", "junit", "markdown", "schema"]
