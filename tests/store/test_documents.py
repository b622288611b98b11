"""Text out of documents: each kind, what is broken or made to harm, and what a search then finds."""

import base64
import zipfile
from io import BytesIO

import pytest

from aios.abi import syscalls as sc
from aios.drivers.clock import SystemClock
from aios.drivers.documents import extract as module
from aios.drivers.documents import office, text
from aios.drivers.documents.extract import extract
from aios.drivers.documents.extracting import Allowed, Extracted, Extractor
from aios.drivers.documents.text import DOCX, HTML, PDF, PPTX, XLSX, Unreadable
from aios.drivers.llm_scripted import ScriptedDriver
from aios.kernel.checking import files as checking
from aios.kernel.config import Config, StorageConfig
from aios.kernel.kernel import Kernel

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
X = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'


def packed(**parts):
    """A zip file; in names `__` stands for a slash and `_` for a dot."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return stream.getvalue()


def document(body, **parts):
    return packed(word__document_xml=f"<w:document {W}><w:body>{body}</w:body></w:document>", **parts)


def paragraph(said):
    return f"<w:p><w:r><w:t>{said}</w:t></w:r></w:p>"


def read(media, data, max_letters=512 * 1024):
    return extract(media, base64.b64encode(data).decode(), max_letters)


def refused(media, data):
    with pytest.raises(Unreadable) as error:
        read(media, data)
    return str(error.value)


def pdf(*pages):
    """A small PDF with a line on each page."""
    count = len(pages)
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {count} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, line in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 100] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        stream = f"BT /F1 12 Tf 10 50 Td ({line}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = len(out)
    size = len(objects) + 1
    out += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n".encode()
    return out + f"startxref\n{end}\n%%EOF\n".encode()


# ---- each kind


def test_html_is_what_a_reader_would_see():
    page = b"""<!DOCTYPE html><html><head><title>Tea &amp; more</title><style>p {x: 1}</style></head><body>
    <script>var hidden = "<p>no</p>";</script><h1>Green</h1><p>One<b>word</b>  and
    another</p><ul><li>a<li>b</ul><img src="x" alt="a cup"><svg><text>drawn</text></svg>caf&eacute;<p>"""
    found = read(HTML, page)
    for seen in ("Tea & more", "Green", "Oneword and\nanother", "a cup", "café"):
        assert seen in found
    for unseen in ("hidden", "x: 1", "drawn", "<"):
        assert unseen not in found


@pytest.mark.parametrize(
    "data",
    [
        "<meta charset='latin-1'>caf\u00e9".encode("latin-1"),
        b"\xff\xfe" + "café".encode("utf-16-le"),
        "<meta charset=unheard>café".encode(),
        "café".encode("utf-8-sig"),
    ],
)
def test_html_is_decoded_as_it_says(data):
    assert read(HTML, data) == "café"


def test_words_of_a_document_with_its_notes():
    body = paragraph("First &amp; foremost") + "<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r></w:p>"
    notes = f"<w:footnotes {W}>{paragraph('small print')}</w:footnotes>"
    head = f"<w:hdr {W}>{paragraph('on each page')}</w:hdr>"
    found = read(DOCX, document(body, word__footnotes_xml=notes, word__header1_xml=head))
    assert found == "First & foremost\na b\nsmall print\non each page"


def test_slides_come_in_their_order_with_their_notes():
    def slide(said):
        return f"<p:sld xmlns:p='p' {A}><a:p><a:r><a:t>{said}</a:t></a:r></a:p></p:sld>"

    found = read(
        PPTX,
        packed(
            ppt__presentation_xml="<p/>",
            ppt__slides__slide10_xml=slide("ten"),
            ppt__slides__slide2_xml=slide("two"),
            ppt__notesSlides__notesSlide2_xml=slide("to be said"),
        ),
    )
    assert found.split() == ["two", "to", "be", "said", "ten"]


def test_cells_of_a_workbook_sheet_by_sheet():
    cells = (
        '<c t="s"><v>1</v></c><c><v>12.5</v></c><c t="inlineStr"><is><t>in</t></is></c><c t="s"><v>99</v></c>'
    )
    found = read(XLSX, workbook(cells))
    assert found == "Sums\npencils 12.5 in"


def workbook(cells):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(
            "xl/workbook.xml", f'<workbook {X} {R}><sheets><sheet name="Sums" r:id="a"/></sheets></workbook>'
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            '<Relationships><Relationship Id="a" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/sharedStrings.xml",
            f"<sst {X}><si><t>x</t></si><si><r><t>pen</t></r><r><t>cils</t></r></si></sst>",
        )
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {X}><sheetData><row>{cells}</row></sheetData></worksheet>",
        )
    return stream.getvalue()


def test_pages_of_a_pdf():
    pytest.importorskip("pypdf", reason="the extra [documents] is not installed")
    assert read(PDF, pdf("The first page", "and the second")) == "The first page\n\nand the second"
    assert "no text" in refused(PDF, pdf(""))
    assert "no whole PDF" in refused(PDF, b"%PDF-1.4 and nothing")


def test_without_the_extra_a_pdf_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    assert "aios[documents]" in refused(PDF, pdf("x"))


# ---- what is broken, or made to harm


@pytest.mark.parametrize("media", [DOCX, XLSX, PPTX])
def test_what_is_no_such_document_says_so(media):
    assert "no Office document" in refused(media, b"PK not really")
    assert "no such document" in refused(media, packed(other_xml="<x/>"))


def test_what_unpacks_to_too_much_is_refused_before_it_does(monkeypatch):
    monkeypatch.setattr(office, "MAX_PART", 1_000_000)
    bomb = document("<w:x/>" + " " * 5_000_000)
    assert len(bomb) < 10_000
    assert "unpacks to more" in refused(DOCX, bomb)
    monkeypatch.setattr(office, "MAX_PARTS", 3)
    assert "parts" in refused(DOCX, document("", a="", b="", c=""))


def test_entities_are_refused():
    laughs = f'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><w:document {W}>&b;</w:document>'
    assert "entities" in refused(DOCX, packed(word__document_xml=laughs))


@pytest.mark.parametrize("cut", [10, 100, 150])
def test_a_document_cut_short_says_so(cut):
    data = document(paragraph("some text that is here") * 50)
    assert refused(DOCX, data[:cut] + data[cut + 30 :])
    assert "broken" in refused(DOCX, packed(word__document_xml=f"<w:document {W}><w:p>"))


def test_no_more_is_taken_out_than_is_wanted():
    assert len(read(DOCX, document(paragraph("tea " * 50) * 1000), max_letters=100)) <= 100


@pytest.fixture
async def allowing():
    """Makes extractors that allow so much."""
    made = []

    def make(**allowed):
        made.append(Extractor(SystemClock(), allowed=Allowed(**allowed)))
        return made[-1]

    yield make
    for extractor in made:
        await extractor.close()


async def test_a_process_of_its_own_reads_and_what_goes_wrong_there_is_a_reason(allowing):
    extractor = allowing()
    assert await extractor.extract(HTML, b"<p>tea") == Extracted("tea")
    broken = await extractor.extract(DOCX, b"no")
    assert broken == Extracted(None, "it is no Office document: File is not a zip file")
    failed = await extractor.extract("unheard", b"x")
    assert failed.text is None
    assert failed.why.startswith("its reader failed: KeyError")


async def test_what_a_document_may_take_is_the_configurations_to_say(tmp_path):
    config = Config(data=tmp_path, storage=StorageConfig(max_document_bytes=9, max_document_letters=4))
    async with Kernel(config, drivers={"scripted": ScriptedDriver(lambda job: "")}) as kernel:
        for path, content in (("long.html", "<p>too long"), ("cut.html", "<p>coffee")):
            await kernel.trap(kernel.operator_token, sc.StorageWrite(path=path, content=content))
        await kernel.idle()
        stat = await kernel.trap(kernel.operator_token, sc.StorageStat(path="long.html"))
        assert stat.text == "none: it has more than 9 bytes"
        found = await kernel.trap(kernel.operator_token, sc.StorageSearch(text="cof", mode="keyword"))
        assert [hit.file.path for hit in found.hits] == ["cut.html"]


async def test_no_more_than_is_allowed_is_read_and_taken_out(allowing):
    assert await allowing(num_bytes=2).extract(HTML, b"<p>") == Extracted(None, "it has more than 2 bytes")
    assert await allowing(num_letters=3).extract(HTML, b"<p>tea") == Extracted("te")
    short = allowing(memory_bytes=64 * 1024 * 1024)
    found = await short.extract(DOCX, document("<w:p>" * 3_000_000))
    assert found.text is None


async def test_a_reader_that_takes_too_long_is_ended_and_the_next_one_works(allowing):
    extractor = allowing()
    extractor.allowed = Allowed(seconds=0.001)
    found = await extractor.extract(DOCX, document("<w:p>" * 300_000))
    assert found == Extracted(None, "it was not read in 0.001 s")
    extractor.allowed = Allowed()
    assert (await extractor.extract(HTML, b"still here")).text == "still here"


# ---- what is found by it


async def names(agent, text):
    return [hit.file.path for hit in (await agent(sc.StorageSearch(text=text, mode="keyword"))).hits]


async def write(agent, path, data):
    call = sc.StorageWrite(path=path, content=base64.b64encode(data).decode(), encoding="base64")
    return await agent(call)


async def told(agent, path):
    return (await agent(sc.StorageStat(path=path))).text


async def test_documents_are_found_by_what_they_say_and_joined(managers, agent):
    await write(agent, "plan.docx", document(paragraph("The lighthouse")))
    await write(agent, "broken.docx", b"lighthouse")
    await write(agent, "page.html", b"<p title='lamp'>The lighthouse</p>")
    await write(agent, "plain.txt", b"lighthouse")
    await managers.extracting.idle()
    assert set(await names(agent, "lighthouse")) == {"plan.docx", "page.html", "plain.txt"}
    assert await names(agent, "lamp") == []
    assert [await told(agent, path) for path in ("plan.docx", "page.html", "plain.txt")] == [
        *("extracted", "extracted", "")
    ]
    assert (await told(agent, "broken.docx")).startswith("none: it is no Office document")
    joined = await agent(sc.StorageJoin(files=(sc.FileAt("plan.docx"), sc.FileAt("broken.docx")), to="all"))
    assert [bool(part.left_out) for part in joined.parts] == [False, False]
    assert "The lighthouse" in (await agent(sc.StorageRead(path="all"))).content
    await write(agent, "plan.docx", document(paragraph("The harbour")))
    await managers.extracting.idle()
    assert "plan.docx" not in await names(agent, "lighthouse")
    assert await names(agent, "harbour") == ["plan.docx"]
    await agent(sc.StorageMove(path="plan.docx", to="moved.docx"))
    await managers.extracting.idle()
    assert await names(agent, "harbour") == ["moved.docx"]
    await agent(sc.StorageDelete(path="moved.docx"))
    assert await names(agent, "harbour") == []
    check = await managers.store.read(lambda c: [*checking._texts(c), *checking._documents(c)])
    assert check == []


async def test_what_waits_is_taken_out_by_the_next_kernel_and_what_is_damaged_anew(tmp_path, at):
    async with at(tmp_path) as managers:
        managers.extracting.wake = lambda: None
        await write(managers.agent(), "plan.docx", document(paragraph("The lighthouse")))
        await write(managers.agent(), "page.html", b"<p>The lighthouse</p>")
        assert await told(managers.agent(), "plan.docx") == "waiting"
        assert await names(managers.agent(), "lighthouse") == ["page.html"]
    async with at(tmp_path) as managers:
        await managers.extracting.idle()
        assert set(await names(managers.agent(), "lighthouse")) == {"plan.docx", "page.html"}
        await managers.store.write(lambda c: c.execute("UPDATE file_texts SET size = size + 1").get)
        problems = await managers.store.read(lambda c: list(checking._texts(c)))
        assert [(one.kind, one.table) for one in problems] == [("index", "file_texts")] * 2
        await managers.store.write(checking._mend_texts)
        assert await managers.store.read(lambda c: list(checking._texts(c))) == []
    async with at(tmp_path) as managers:
        await managers.extracting.idle()
        assert await told(managers.agent(), "plan.docx") == "extracted"
    assert module.READERS.keys() == text.DOCUMENTS
