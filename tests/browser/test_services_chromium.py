"""The Chromium of the browser tests starts, runs scripts and has glyphs for Chinese."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

PAGE = """
<body style="margin:0"><canvas id="c" width="400" height="60"></canvas><script>
function ink(text) {
  const pen = document.getElementById('c').getContext('2d');
  pen.fillStyle = '#fff'; pen.fillRect(0, 0, 400, 60);
  pen.fillStyle = '#000'; pen.font = '40px sans-serif'; pen.fillText(text, 4, 45);
  return Array.from(pen.getImageData(0, 0, 400, 60).data).join();
}
</script></body>
"""


@pytest.mark.browser
def test_chinese_characters_have_glyphs_of_their_own(page: Page, tmp_path: Path) -> None:
    page.set_content(PAGE)
    warehouse, factory = page.evaluate("ink('仓')"), page.evaluate("ink('厂')")
    missing = page.evaluate("ink('\\u{10FFFD}')")
    assert warehouse != factory, "both show as the same box: no Chinese font"
    assert missing not in (warehouse, factory)
    picture = page.screenshot(path=tmp_path / "page.png")
    assert picture.startswith(b"\x89PNG")
