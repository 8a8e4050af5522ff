"""Where everything stands on the page, and what happens when it is pressed."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import gradio as gr

from ..settings import ServeSettings
from .acting import Actions, Told, sentence
from .tray import EXAMPLES, Item, Reader, as_mesh, described, drawn, spoken

if TYPE_CHECKING:
    from ...hosts.reply import Reply
    from ..engine import Engine

__all__ = ["CSS", "build", "theme"]

_HOUR = 3600
_KEEP = (600, _HOUR)  # seconds: how often uploads are looked through, and how old they may get
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
_SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; padding: 12px !important; }
#lp-head h1 { font-size: 1.5rem; margin: 0 0 .15rem; } #lp-head p { margin: 0; opacity: .8; }
.lp-table { width: 100%; border-collapse: collapse; font-size: .9rem; }
.lp-table td, .lp-table th { text-align: left; padding: .3rem .5rem; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--border-color-primary); }
.lp-bar { display: grid; grid-template-columns: minmax(6rem, 30%) 1fr 3.5rem; gap: .6rem; align-items: center;
  margin: .3rem 0; } .lp-bar span { overflow-wrap: anywhere; }
.lp-bar i { display: block; height: .7rem; border-radius: .35rem; background: var(--color-accent); min-width: 2px; }
.lp-note { font-size: .85rem; opacity: .75; overflow-wrap: anywhere; }
.lp-card { background: var(--background-fill-primary) !important; border: 1px solid var(--border-color-primary); }
.lp-card .styler { background: var(--background-fill-primary) !important; }
.lp-card canvas { outline: none; border: 0; } .lp-card .block { border: 0 !important; box-shadow: none !important; }
.lp-card .lp-note { margin: .3rem .7rem; }
.lp-wrap { flex-wrap: wrap; }
button:focus-visible, input:focus-visible, textarea:focus-visible, [tabindex]:focus-visible
  { outline: 3px solid var(--color-accent) !important; outline-offset: 2px; }
@media (max-width: 640px) { .gradio-container { padding: 6px !important; } }
"""


def theme() -> Any:
    """Calm colours and the system's own letters: nothing is fetched for them."""
    return gr.themes.Base(
        primary_hue="blue", secondary_hue="slate", neutral_hue="slate", radius_size="md",
        font=list(_SYSTEM), font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
    )  # fmt: skip


def build(engine: Engine, settings: ServeSettings) -> Any:
    """The page, as gradio's blocks."""
    reader = Reader(engine, settings)
    actions = Actions(engine, reader)
    with gr.Blocks(title="lens-plugins", analytics_enabled=False, delete_cache=_KEEP, fill_width=True) as blocks:
        tray = gr.State([], time_to_live=_HOUR)
        gr.Markdown(
            "# lens-plugins\nAdd a point cloud, sound, depth map, touch image, EEG or picture. Then ask about it.",
            elem_id="lp-head",
        )
        with gr.Row(elem_classes="lp-wrap"):
            with gr.Column(scale=2, min_width=300):
                _inputs(tray, reader)
            with gr.Column(scale=3, min_width=300), gr.Tabs():
                if actions.speakers:
                    _ask(tray, actions)
                if actions.artists:
                    _imagine(tray, actions)
                if actions.finders:
                    _find(tray, actions)
                _lenses(actions)
    blocks.queue(max_size=engine.settings.max_queue, default_concurrency_limit=engine.settings.batch_size)
    return blocks


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """What goes wrong becomes one visible sentence."""

    @wraps(function)
    def guarded(*given: Any) -> Any:
        try:
            return function(*given)
        except gr.Error:
            raise
        except Exception as error:  # noqa: BLE001 - ours is a sentence, anything else is logged
            raise gr.Error(sentence(error), duration=None, print_exception=False) from None

    return guarded


def _inputs(tray: Any, reader: Reader) -> None:
    """Adding inputs, and seeing them."""
    files = gr.File(label="Drop files here, or click to choose", file_count="multiple", height=150, elem_id="lp-files")
    with gr.Accordion("Record a sound", open=False):
        recorded = gr.Audio(sources=["microphone"], type="filepath", label="Microphone", format="wav", editable=False)
    gr.Markdown("**Nothing at hand?** Click an example:", elem_classes="lp-note")
    with gr.Row(elem_classes="lp-wrap"):
        for name in EXAMPLES:
            button = gr.Button(name, size="sm", min_width=90, elem_id=f"lp-example-{name.split()[0].lower()}")
            button.click(_told(_adding_example(reader, name)), tray, tray, **_PRIVATE)
    _cards(tray, reader)

    def add(paths: list[str] | None, items: list[Item]) -> tuple[list[Item], None]:
        refused = []
        for path in paths or ():
            try:
                items = reader.add(items, Path(path).name, Path(path).read_bytes())
            except Exception as error:  # noqa: BLE001 - the other files are added all the same
                refused.append(sentence(error))
        for why in refused:
            gr.Warning(html.escape(why), duration=None, title="Not added")
        return items, None

    def record(path: str | None, items: list[Item]) -> tuple[list[Item], None]:
        if path is None:
            return items, None
        number = sum(item.name.startswith("recording") for item in items) + 1
        return reader.add(items, f"recording-{number}.wav", Path(path).read_bytes(), "audio"), None

    files.upload(_told(add), [files, tray], [tray, files], **_PRIVATE)
    recorded.stop_recording(_told(record), [recorded, tray], [tray, recorded], **_PRIVATE)


def _adding_example(reader: Reader, name: str) -> Callable[[list[Item]], list[Item]]:
    def add(items: list[Item]) -> list[Item]:
        path, modality = EXAMPLES[name]
        return reader.add(items, path.name, path.read_bytes(), modality)

    return add


def _cards(tray: Any, reader: Reader) -> None:
    @gr.render(inputs=tray)  # type: ignore[untyped-decorator, unused-ignore]
    def cards(items: list[Item]) -> None:
        for place, item in enumerate(items):
            with gr.Group(elem_classes="lp-card"):
                _show(place, item)
                kind = gr.Radio(
                    [(spoken(one), one) for one in item.choices], value=item.modality, label=f"{item.name} is a",
                    visible=len(item.choices) > 1,
                )  # fmt: skip
                gone = gr.Button(f"Remove {item.name}", size="sm", variant="secondary")

            def changed(modality: str, items: list[Item], place: int = place) -> list[Item]:
                return reader.change(items, place, modality)

            def removed(items: list[Item], place: int = place) -> list[Item]:
                return [one for number, one in enumerate(items) if number != place]

            kind.input(_told(changed), [kind, tray], tray, **_PRIVATE)
            gone.click(_told(removed), tray, tray, **_PRIVATE)


def _show(place: int, item: Item) -> None:
    """An item as a person sees or hears it."""
    label = f"{item.name} ({spoken(item.modality)})"
    if item.modality == "point_cloud":
        gr.Model3D(_kept(as_mesh(item.given), ".ply"), label=label, height=260, interactive=False,
                   clear_color=(0, 0, 0, 0), elem_id=f"lp-cloud-{place}")  # fmt: skip
    elif item.modality == "audio":
        gr.Audio(_kept(item.content, Path(item.name).suffix), label=label, interactive=False, editable=False)
    else:
        gr.Image(drawn(item), label=label, height=220, interactive=False, buttons=[])
    gr.HTML(f"<p class='lp-note'>{html.escape(described(item))}</p>")


def _kept(content: bytes, suffix: str) -> str:
    """A file in the page's private folder, for the browser to fetch; it goes when it is an hour old."""
    import os

    with NamedTemporaryFile(dir=os.environ["GRADIO_TEMP_DIR"], suffix=suffix, delete=False) as file:
        file.write(content)
    return file.name


def _models(names: list[str], label: str = "Model") -> Any:
    return gr.Dropdown(names, value=names[0], label=label, visible=len(names) > 1, min_width=160)


def _ask(tray: Any, actions: Actions) -> None:
    """A conversation about the inputs."""
    with gr.Tab("Ask"):
        chat = gr.Chatbot(
            label="Conversation", height=380, buttons=["copy"], feedback_options=None, elem_id="lp-chat",
            placeholder="Add an input, then ask. An empty question asks for a caption.",
        )  # fmt: skip
        said = gr.State([], time_to_live=_HOUR)
        question = gr.Textbox(
            label="Question", placeholder="What is it?", lines=1, max_lines=4, elem_id="lp-question",
            info="Enter sends. Empty asks for a caption.",
        )  # fmt: skip
        with gr.Row(elem_classes="lp-wrap"):
            send = gr.Button("Ask", variant="primary", min_width=90, elem_id="lp-send")
            stop = gr.Button("Stop", min_width=70)
            clear = gr.Button("Clear", min_width=70)
        with gr.Accordion("Options", open=False):
            model, places = _models(actions.speakers), actions.places(actions.speakers[0])
            place = gr.Radio(
                [("as the model does", ""), *((f"before the {_NAMES[one]}", one) for one in places)],
                value="", label="Where several inputs meet",
            )  # fmt: skip

        def answer(text: str, items: list[Item], name: str, where: str, lines: list[Told]) -> Iterator[Any]:
            asked = Told("user", text.strip() or "(a caption)")
            shown = [_line(one) for one in [*lines, asked]]
            yield shown, lines, ""
            reply: Reply | None = None
            try:
                for grown, whole in actions.ask(items, text, name, where or None, lines):
                    reply = whole
                    yield [*shown, {"role": "assistant", "content": grown}], lines, ""
            except Exception as error:  # noqa: BLE001 - told in the conversation, where the visitor looks
                yield [*shown, {"role": "assistant", "content": f"⚠️ {sentence(error)}"}], lines, text
                return
            if reply is None:
                return
            kept = Told("assistant", reply.text, actions.markup(name, reply))
            pictures = [{"role": "assistant", "content": gr.Image(one)} for one in reply.images]
            yield [*shown, _line(kept), *pictures], [*lines, asked, kept], ""

        given, changed = [question, tray, model, place, said], [chat, said, question]
        asking: list[Any] = [
            send.click(answer, given, changed, **_PRIVATE),
            question.submit(answer, given, changed, **_PRIVATE),
        ]
        stop.click(None, None, None, cancels=asking, **_PRIVATE)
        clear.click(lambda: ([], [], ""), None, changed, **_PRIVATE)


_NAMES = {"vit": "ViT", "qformer": "Q-Former", "llm": "language model"}


def _line(told: Told) -> dict[str, Any]:
    return {"role": told.role, "content": told.text}


def _imagine(tray: Any, actions: Actions) -> None:
    """Pictures of the inputs, of a change to them, of several in one."""
    with gr.Tab("Imagine"):
        gr.Markdown("Draws what the inputs show. Two or more become one picture.", elem_classes="lp-note")
        change = gr.Textbox(label="Change", placeholder="Make it Halloween style.", elem_id="lp-change",
                            info="Empty draws the input as it is.")  # fmt: skip
        with gr.Row(elem_classes="lp-wrap"):
            count = gr.Slider(1, 4, value=1, step=1, label="Pictures", min_width=140)
            seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=100)
        model = _models(actions.artists)
        draw = gr.Button("Draw", variant="primary", elem_id="lp-draw")
        gallery = gr.Gallery(label="Pictures", columns=2, height=340, object_fit="contain", format="png",
                             buttons=["download", "fullscreen"], elem_id="lp-drawn")  # fmt: skip
        with gr.Accordion("Seeds and codes", open=False):
            codes = gr.Code(language="json", label="What draws them again", interactive=False)

        def imagine(items: list[Item], text: str, name: str, many: int, first: int) -> tuple[Any, str]:
            made = actions.imagine(items, text, name, many, first or 0)
            told = [{"seed": number, "codes": code} for _, number, code in made]
            return [(picture, f"seed {number}") for picture, number, _ in made], json.dumps(told)

        given, changed = [tray, change, model, count, seed], [gallery, codes]
        draw.click(_told(imagine), given, changed, **_PRIVATE)
        change.submit(_told(imagine), given, changed, **_PRIVATE)


def _find(tray: Any, actions: Actions) -> None:
    """Search among the inputs, and labels without training."""
    with gr.Tab("Find"):
        model = _models(actions.finders)
        gr.Markdown("**Search** the inputs on the left by a text, or by one of them.", elem_classes="lp-note")
        with gr.Row(elem_classes="lp-wrap"):
            query = gr.Textbox(label="Look for", placeholder="something to sit on", elem_id="lp-query", min_width=160)
            like = gr.Dropdown([], label="or what is like", value=None, min_width=140)
        search = gr.Button("Search", variant="primary", elem_id="lp-search")
        ranked = gr.HTML(elem_id="lp-ranked")
        gr.Markdown("**Label** one input, without training.", elem_classes="lp-note")
        with gr.Row(elem_classes="lp-wrap"):
            labels = gr.Textbox("chair, lamp, rooster, brick", label="Labels, with commas", elem_id="lp-labels",
                                min_width=160)  # fmt: skip
            which = gr.Dropdown([], label="Input", value=None, min_width=140)
        classify = gr.Button("Label")
        shares = gr.HTML(elem_id="lp-shares")

        def names(items: list[Item]) -> tuple[Any, Any]:
            choices = [(f"{number + 1}. {item.name}", number) for number, item in enumerate(items)]
            return gr.Dropdown(choices, value=None), gr.Dropdown(choices, value=len(items) - 1 if items else None)

        def find(items: list[Item], text: str, place: int | None, name: str) -> str:
            return _bars(actions.find(items, text, place, name))

        def label(items: list[Item], place: int | None, text: str, name: str) -> str:
            return _bars(list(actions.label(items, place, text, name).items()))

        tray.change(names, tray, [like, which], show_progress="hidden", **_PRIVATE)
        given = [tray, query, like, model]
        search.click(_told(find), given, ranked, **_PRIVATE)
        query.submit(_told(find), given, ranked, **_PRIVATE)
        choosing = [tray, which, labels, model]
        classify.click(_told(label), choosing, shares, **_PRIVATE)
        labels.submit(_told(label), choosing, shares, **_PRIVATE)


def _bars(rows: list[tuple[str, float]]) -> str:
    """Names with bars as long as their scores."""
    return "".join(
        f"<div class='lp-bar'><span>{html.escape(name)}</span><i style='width:{max(0.0, min(1.0, score)):.1%}'></i>"
        f"<span>{score:.3f}</span></div>"
        for name, score in rows
    )


def _lenses(actions: Actions) -> None:
    """What is plugged, and the proof that the hosts are as they were."""
    with gr.Tab("Lenses"):
        gr.Markdown(
            "A lens turns a modality into tokens that the frozen model reads. The model's own weights never change.",
            elem_classes="lp-note",
        )
        table = gr.HTML(_table(actions))
        check = gr.Button("Check that nothing in the models has changed", elem_id="lp-check")
        digests = gr.HTML(elem_id="lp-digests")
        check.click(_told(lambda: (actions.check_frozen(), _table(actions))), None, [digests, table], **_PRIVATE)


def _table(actions: Actions) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in actions.lenses()
    )
    return f"<table class='lp-table'><tr><th>model</th><th>reads</th><th>lens</th></tr>{rows}</table>"
