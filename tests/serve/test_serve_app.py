"""OpenAI's own client against a real server with small hosts."""

import base64
import io

import httpx
import numpy as np
import openai
import pytest
import torch
from PIL import Image
from serving import ADMIN, KEY, MODALITIES, asking, cloud, data_uri, part, picture, running

import lens_plugins as lp
from lens_plugins.serve import EngineSettings, ServeSettings
from lens_plugins.serve.documents import EXAMPLES

GREEDY = {"num_beams": 1}


def error_of(call, kind):
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def alone(hosts, kind, seed=0, prompt="what is this", **options):
    """What the host says without a server."""
    content = part(kind, seed)
    value = content[content["type"]]
    raw = base64.b64decode(value["data"] if "data" in value else value["url"].partition(",")[2])
    modality = {"input_audio": "audio"}.get(content["type"], content["type"].removesuffix("_url"))
    name = {"audio": "a.wav", "image": "a.png", "tactile": "a.png"}.get(kind, "a.npy")
    read = hosts["small"].read({"bytes": raw, "path": name}, modality)
    return str(hosts["small"].generate(read, prompt, **options))


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def test_models(client, hosts):
    listed = {model.id: model for model in client.models.list()}
    assert listed.keys() == hosts.keys()
    assert listed["small"].lenses == sorted(MODALITIES)
    assert listed["seed"].capabilities == {"chat": True, "history": True, "images": True, "text_embeddings": False}
    assert client.models.retrieve("small").id == "small"
    error = error_of(lambda: client.models.retrieve("gpt-5"), openai.NotFoundError)
    assert "'gpt-5'" in error.message
    assert "small, seed" in error.message


@pytest.mark.parametrize("kind", ["point_cloud", "audio", "depth", "tactile", "image"])
def test_chat_answers_as_the_host_does(client, hosts, kind):
    made = client.chat.completions.create(model="small", messages=asking(kind), max_tokens=12)
    assert made.choices[0].message.content == alone(hosts, kind, max_new_tokens=12)
    assert made.choices[0].finish_reason in ("stop", "length")
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.usage.prompt_tokens >= 3 + 3


def test_stream_is_the_answer_of_one_beam(client, hosts):
    stream = client.chat.completions.create(
        model="small", messages=asking("audio"), max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == alone(hosts, "audio", max_new_tokens=12, num_beams=1)
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) > 2
    assert chunks[-1].usage.completion_tokens > 0
    assert not chunks[-1].choices
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")


def test_stream_ends_with_done(server):
    body = {"messages": asking("image"), "stream": True, "max_tokens": 4}
    with server.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


def test_length_and_stop(client, hosts):
    whole = alone(hosts, "point_cloud", max_new_tokens=12, num_beams=1)
    words = whole.split()
    made = client.chat.completions.create(
        model="small", messages=asking("point_cloud"), max_tokens=2, extra_body=GREEDY
    )
    assert made.usage.completion_tokens == 2
    assert made.choices[0].finish_reason == "length"
    for stream in (False, True):
        made = client.chat.completions.create(
            model="small",
            messages=asking("point_cloud"),
            max_tokens=12,
            stop=words[2],
            stream=stream,
            extra_body=GREEDY,
        )
        text = (
            "".join(chunk.choices[0].delta.content or "" for chunk in made)
            if stream
            else made.choices[0].message.content
        )
        assert text == whole.partition(words[2])[0].strip()


def test_seed_is_torchs_seed(client, hosts):
    torch.manual_seed(7)
    options = {"do_sample": True, "num_beams": 1, "temperature": 0.8, "max_new_tokens": 12}
    expected = alone(hosts, "depth", **options)
    made = client.chat.completions.create(
        model="small", messages=asking("depth"), max_tokens=12, temperature=0.8, seed=7, n=3
    )
    texts = [choice.message.content for choice in made.choices]
    assert texts[0] == expected
    assert len(set(texts)) > 1
    again = client.chat.completions.create(
        model="small", messages=asking("depth"), max_tokens=12, temperature=0.8, seed=7, n=3, stream=True
    )
    parts = ["", "", ""]
    for chunk in again:
        parts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert parts == texts


def test_several_likeliest(client, hosts):
    made = client.chat.completions.create(model="small", messages=asking("image"), max_tokens=8, n=3)
    read = hosts["small"].read({"bytes": picture(0), "path": "a.png"})
    likeliest = hosts["small"].generate(read, "what is this", max_new_tokens=8, num_return_sequences=3).alternatives
    assert [choice.message.content for choice in made.choices] == [str(one) for one in likeliest]


def test_a_question_is_about_what_was_shown_last(client):
    talk = [
        *asking("audio"),
        {"role": "assistant", "content": "a story"},
        *asking("point_cloud", None),
        {"role": "assistant", "content": "it"},
        {"role": "user", "content": "what is this"},
    ]
    made = client.chat.completions.create(model="small", messages=talk, max_tokens=12)
    shown = client.chat.completions.create(model="small", messages=asking("point_cloud"), max_tokens=12)
    assert made.choices[0].message.content == shown.choices[0].message.content


def test_system_is_said_to_be_ignored(client):
    messages = [{"role": "system", "content": "Be brief."}, *asking("image")]
    made = client.chat.completions.create(model="small", messages=messages, max_tokens=4)
    assert made.lens_plugins["ignored"] == ["system"]


def test_conversation_of_a_host_that_remembers(client, hosts):
    host = hosts["seed"]
    first = client.chat.completions.create(
        model="seed",
        messages=asking("image", "what"),
        max_tokens=20,
        seed=3,
        extra_body={"force_image": True, "steps": 1},
    )
    message = first.choices[0].message
    talk = [
        *asking("image", "what"),
        {"role": "assistant", "content": message.content, "images": message.images},
        {"role": "user", "content": "and this"},
    ]
    made = client.chat.completions.create(model="seed", messages=talk, max_tokens=8, seed=5)
    chat = host.chat()
    seen = host.read({"bytes": picture(0), "path": "a.png"})
    said = chat.say("what <image>", seen, force_image=True, steps=1, seed=3, max_new_tokens=20)
    assert message.images[0]["codes"] == said.codes[0].tolist()
    # text and picture in the order of the message: text first
    text = " ".join([*([said.text] if said.text else []), *map(host.vocabulary.text, said.codes)])
    chat.history = [(chat.history[0][0], text)]
    assert made.choices[0].message.content == chat.say("and this", seed=5, max_new_tokens=8).text


def test_stream_of_a_host_that_remembers(client):
    options = {"model": "seed", "messages": asking("image", "what"), "max_tokens": 12, "seed": 3}
    whole = client.chat.completions.create(**options).choices[0].message.content
    chunks = client.chat.completions.create(**options, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.split() == whole.split()


def test_embeddings(client, hosts):
    texts = ["a photo", "piano"]
    found = client.embeddings.create(model="small", input=texts)  # the client asks for base64
    expected = hosts["small"].embed([f"text:{text}" for text in texts])
    assert np.allclose([one.embedding for one in found.data], expected, atol=1e-6)
    plain = client.embeddings.create(model="small", input="a photo", encoding_format="float")
    assert np.allclose(plain.data[0].embedding, expected[0], atol=1e-6)
    mixed = client.embeddings.create(model="small", input=[part("audio"), "piano", part("point_cloud")])
    assert np.allclose(mixed.data[1].embedding, expected[1], atol=1e-6)
    assert np.allclose([np.linalg.norm(one.embedding) for one in mixed.data], 1, atol=1e-5)
    seen = client.embeddings.create(model="small", input=[part("audio")], extra_body={"space": "vision"})
    assert len(seen.data[0].embedding) == 32


def test_classify(server, hosts):
    body = {"input": part("image"), "labels": ["photo", "piano"], "template": "a {} ."}
    with server.http() as http:
        found = http.post("/v1/classify", json=body).json()["data"][0]["labels"]
    read = hosts["small"].read({"bytes": picture(0), "path": "a.png"})
    expected = hosts["small"].classify(read, ["photo", "piano"], template="a {} .")
    assert [one["label"] for one in found] == [one["label"] for one in expected]
    assert np.allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-5)


def test_images(client, hosts):
    made = client.images.generate(
        model="seed", prompt="a photo", n=2, extra_body={"seed": 4, "steps": 1, "input": [part("image")]}
    )
    read = hosts["seed"].read({"bytes": picture(0), "path": "a.png"})
    expected = hosts["seed"].imagine(read, "a photo", count=2, seed=4, steps=1)
    assert [one.codes for one in made.data] == [reply.codes[0].tolist() for reply in expected]
    assert [one.seed for one in made.data] == [4, 5]
    drawn = Image.open(io.BytesIO(base64.b64decode(made.data[1].b64_json)))
    assert np.array_equal(np.asarray(drawn), np.asarray(expected[1].images[0]))
    edited = client.images.edit(
        model="seed", image=("a.png", picture(0)), prompt="a photo", n=1, extra_body={"seed": 4, "steps": 1}
    )
    assert edited.data[0].codes == made.data[0].codes
    several = client.images.edit(
        model="seed", image=[("a.png", picture(0)), ("b.png", picture(1))], prompt="a photo", extra_body={"steps": 1}
    )
    assert len(several.data) == 1
    assert client.images.generate(model="seed", prompt="a photo", extra_body={"steps": 1}).data[0].b64_json


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"extra_body": {"temprature": 1}}, "did you mean 'temperature'?"),
        ({"max_tokens": 100_000}, "max_tokens is 100000; it must be a whole number from 1 to 1024"),
        ({"temperature": 3}, "temperature is 3; it must be a number from 0 to 2"),
        ({"n": 99}, "n is 99"),
        ({"temperature": 1e-300}, "it must be 0 or from 0.01 to 2"),
        ({"stream": True, "n": 2}, "give a temperature above 0"),
        ({"extra_body": {"fuse": "nose"}}, "fuse is 'nose'; it must be vit or qformer or llm"),
        ({"extra_body": {"settings": {"depth": {"unit_scale": 2.0}}}}, "depth.unit_scale is the reader's"),
        ({"extra_body": {"steps": 3}}, "draws nothing"),
        ({"extra_body": {"stream": True, "num_beams": 3}}, "Streaming runs 1 beam, got num_beams=3."),
    ],
)
def test_what_is_refused(client, more, words):
    options = {"model": "small", "messages": asking("depth"), **more}
    error = error_of(lambda: client.chat.completions.create(**options), openai.BadRequestError)
    assert words in error.message
    assert error.body["type"] == "invalid_request_error"


def test_what_clients_send_by_default_is_taken(client):
    made = client.chat.completions.create(
        model="small", messages=asking("image"), max_tokens=3, user="me", tools=[], tool_choice="none", logprobs=False,
        presence_penalty=0, frequency_penalty=0, response_format={"type": "text"}, store=False,
    )  # fmt: skip
    assert made.choices[0].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"type": "image_url", "image_url": {"url": "/etc/passwd"}}], "'/etc/passwd', which is no data URI"),
        ([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}], "which is no data URI"),
        ([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], "fetches no web addresses"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], "is not a picture"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,A*A"}}], "is no base64"),
        ([{"type": "file", "file": {"file_id": "file-1"}}], "keeps no files"),
        ([{"type": "file", "file": {"file_data": "data:;base64,AAAA"}}], "do not say what they are"),
        ([{"type": "video_url", "video_url": {"url": "x"}}], "has the type 'video_url'"),
        ("hello", "no message has one"),
        ([{"type": "text", "text": 3}], "has 3 in place of its text"),
    ],
)
def test_what_no_message_may_hold(client, content, words):
    messages = [{"role": "user", "content": content}]
    error = error_of(lambda: client.chat.completions.create(model="small", messages=messages), openai.BadRequestError)
    assert words in error.message
    assert "Traceback" not in error.message


def test_a_file_by_its_name(client):
    file = {"type": "file", "file": {"filename": "../../etc/chair.npy", "file_data": data_uri(cloud())}}
    named = {**file, "modality": "point_cloud"}
    texts = {
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": [one]}], max_tokens=6)
        .choices[0]
        .message.content
        for one in (file, named)
    }
    assert len(texts) == 1


def test_settings_of_an_input(client):
    image = Image.fromarray(np.linspace(500, 9000, 1600).reshape(40, 40).astype(np.uint16))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    messages = [
        {"role": "user", "content": [{"type": "depth_url", "depth_url": data_uri(buffer.getvalue(), "image/png")}]}
    ]
    made = [
        client.embeddings.create(
            model="small", input=messages[0]["content"], extra_body={"settings": {"depth": {"kind": kind}}}
        )
        for kind in ("depth_mm", "depth_m")
    ]
    assert made[0].data[0].embedding != made[1].data[0].embedding


def test_a_modality_without_lens(hosts, client):
    messages = [{"role": "user", "content": [part("audio")]}]
    error = error_of(
        lambda: client.chat.completions.create(model="seed", messages=messages), openai.UnprocessableEntityError
    )
    assert "no lens for an audio clip" in error.message
    assert error.status_code == 422


def test_keys(server):
    for key in ("wrong", ADMIN[:-1], "-"):
        answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    error_of(lambda: server.client("wrong").models.list(), openai.AuthenticationError)
    for path in ("/metrics", "/openapi.json", "/v1/nothing"):
        assert httpx.get(server.url + path).status_code == 401
    for path in ("/healthz", "/readyz"):
        assert httpx.get(server.url + path).status_code == 200


def test_lenses_while_serving(server, hosts):
    admin = {"Authorization": f"Bearer {ADMIN}"}
    with server.http() as http:
        assert http.post("/v1/lenses", json={"lens": "pocket-audio"}).status_code == 401
        for lens in ("/etc/passwd", "../lens", "https://example.org/lens", 3):
            answer = http.post("/v1/lenses", json={"lens": lens, "model": "small"}, headers=admin)
            assert answer.status_code == 400
            assert "lens" in answer.json()["error"]["message"]
        lens = hosts["small"].lenses["eeg"]
        answer = http.delete("/v1/lenses/eeg?model=small", headers=admin).json()
        assert answer["before"] == answer["after"]
        assert len(answer["before"]["vit"]) == 64
        assert "eeg" not in answer["lenses"]
        again = http.delete("/v1/lenses/eeg?model=small", headers=admin)
        assert again.status_code == 400
        assert "to unplug" in again.json()["error"]["message"]
    hosts["small"].plug(lens)


def test_plugging_by_a_name_of_the_servers_own(hosts, tmp_path):
    lens = hosts["small"].lenses["tactile"]
    lens.save_pretrained(tmp_path / "own")
    settings = ServeSettings(admin_key=ADMIN, lenses={"own": str(tmp_path / "own")})
    with running(hosts, settings=settings) as made, made.http() as http:
        answer = http.post("/v1/lenses", json={"lens": "own"}, headers={"Authorization": f"Bearer {ADMIN}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["before"] == answer.json()["after"]
    assert hosts["small"].lenses["tactile"] is not lens


def test_nobody_plugs_without_an_admin_key(hosts):
    with running(hosts, settings=ServeSettings()) as made, made.http() as http:
        answer = http.post("/v1/lenses", json={"lens": "pocket-audio"})
        assert answer.status_code == 403
        assert "--admin-key-file" in answer.json()["error"]["message"]


def test_metrics(server, client):
    client.chat.completions.create(model="small", messages=asking("image"), max_tokens=3)
    with server.http() as http:
        http.get("/v1/nothing/at/all")
        text = http.get("/metrics").text
    assert 'lens_plugins_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert 'lens_plugins_part_seconds_count{part="reading"}' in text
    assert "lens_plugins_tokens_total" in text
    assert "process_resident_memory_bytes" in text
    assert "/v1/nothing" not in text  # what clients type is no label


def test_time_is_told(server):
    with server.http() as http:
        answer = http.post("/v1/chat/completions", json={"messages": asking("image"), "max_tokens": 3})
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert "computing;dur=" in answer.headers["server-timing"]
    assert answer.headers["x-request-id"]


def test_documentation_can_be_sent(server):
    with server.http() as http:
        told = http.get("/openapi.json").json()
        for path, examples in EXAMPLES.items():
            body = told["paths"][path]["post"]["requestBody"]["content"]
            for name, example in examples.items():
                assert body["application/json"]["examples"][name]["value"] == example
                if path != "/v1/lenses":
                    assert http.post(path, json=example).status_code == 200, (path, name)


def test_no_cors_and_no_other_origins(server):
    with server.http() as http:
        answer = http.options(
            "/v1/models", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        )
        assert "access-control-allow-origin" not in answer.headers
        body = {"messages": asking("image"), "max_tokens": 2}
        answer = http.post("/v1/chat/completions", json=body, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        answer = http.post("/v1/chat/completions", json=body, headers={"Origin": server.url})
        assert answer.status_code == 200
        answer = http.post("/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"})
        assert answer.status_code == 400
        assert "application/json" in answer.json()["error"]["message"]


def test_asked_by_another_name(hosts):
    with running(hosts, settings=ServeSettings(hosts=("127.0.0.1", "localhost"))) as made, made.http() as http:
        assert http.get("/v1/models").status_code == 200
        assert http.get("/v1/models", headers={"Host": "rebound.example"}).status_code == 403
        assert http.get("/v1/models", headers={"Host": f"localhost:{made.port}"}).status_code == 200


def test_too_large(hosts):
    settings = ServeSettings(max_body=20_000, max_points=500, max_pixels=1000, max_seconds=0.5, max_parts=2)
    with running(hosts, settings=settings) as made, made.http() as http:

        def refused(body, **more):
            answer = http.post("/v1/chat/completions", **({"json": body} if body is not None else more))
            assert answer.status_code == 413, answer.text
            return answer.json()["error"]["message"]

        shown = {"role": "user", "content": [part("image")] * 3}
        assert "has 3 inputs; at most 2" in refused({"messages": [shown]})
        assert "1600 pixels; at most 1000" in refused({"messages": asking("image")})
        many = {"type": "point_cloud_url", "point_cloud_url": {"url": data_uri(cloud(points=600))}}
        assert "600 points; at most 500" in refused({"messages": [{"role": "user", "content": [many]}]})
        assert "at most 20000" in refused({"messages": asking("audio")})  # told by its length

        def chunks():
            yield b'{"messages": "'
            for _ in range(50):
                yield b"x" * 1000

        headers = {"Content-Type": "application/json"}
        assert "more than 20000 bytes" in refused(None, content=chunks(), headers=headers)


def test_sound_is_measured_before_it_is_decoded(hosts):
    with running(hosts, settings=ServeSettings(max_seconds=0.5)) as made, made.http() as http:
        answer = http.post("/v1/chat/completions", json={"messages": asking("audio")})
        assert answer.status_code == 413
        assert "1 seconds; at most 0.5" in answer.json()["error"]["message"]


def test_busy_and_late(hosts):
    import threading

    with running(hosts, EngineSettings(max_queue=1), ServeSettings()) as made, made.http() as http:
        go = threading.Event()
        blocked = made.engine.call(lambda host: go.wait(5))
        answer = http.post("/v1/chat/completions", json={"messages": asking("image")})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert "1 requests wait or run, and 1 are taken at once" in answer.json()["error"]["message"]
        error_of(
            lambda: made.client().chat.completions.create(model="small", messages=asking("image")),
            openai.RateLimitError,
        )
        go.set()
        blocked._future.exception()
    with running(hosts, EngineSettings(max_queue=4, deadline=2), ServeSettings()) as made, made.http() as http:
        go = threading.Event()
        made.engine.call(lambda host: go.wait(5))
        answer = http.post("/v1/chat/completions", json={"messages": asking("image")})
        assert answer.status_code == 504
        assert "after 2 seconds" in answer.json()["error"]["message"]
        go.set()


def test_our_fault_is_a_number_in_the_log(hosts, caplog, monkeypatch):
    with running(hosts, settings=ServeSettings()) as made, made.http() as http:
        monkeypatch.setattr(made.engine, "embed", lambda *_, **__: 1 / 0)
        answer = http.post("/v1/embeddings", json={"input": "a photo"})
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert answer.headers["x-request-id"] in error["message"]
    assert "division" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_nothing_is_said_of_tracebacks(server):
    with server.http() as http:
        for body in (
            b"",
            b"[]",
            b"nonsense",
            b'{"messages": NaN}',
            b'{"input": "\\ud800"}',
            b'{"input": "\xed\xa0\x80"}',
            b"[" * 100_000,
            b'{"a": 1' * 100,
        ):
            answer = http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400
            assert "error" in answer.json()
        assert http.get("/v1/nowhere").json()["error"]["message"].startswith("There is no GET")
        assert http.get("/v1/chat/completions").status_code == 405


def test_an_exit_2_error_is_400_with_the_same_sentence(server, hosts):
    broken = {"type": "point_cloud_url", "point_cloud_url": {"url": data_uri(b"ply\nnonsense\n"), "filename": "a.ply"}}
    with server.http() as http:
        answer = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": [broken]}]})
    with pytest.raises(lp.errors.InputError) as caught:
        hosts["small"].read({"bytes": b"ply\nnonsense\n", "path": "a.ply"}, "point_cloud")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, str(caught.value))


def test_the_key_is_not_shown():
    assert KEY not in repr(ServeSettings(api_key=KEY))


def test_what_openai_has_no_field_for(client, server, hosts):
    shown = [part("image"), part("audio")]
    made = client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": shown}], max_tokens=4, extra_body={"fuse": "llm"}
    )
    expected = {"modalities": ["image", "audio"], "prompt": hosts["small"].default_prompt, "fuse": "llm", "score": None}
    assert made.lens_plugins == expected
    stream = client.chat.completions.create(model="small", messages=asking("image"), max_tokens=4, stream=True)
    chunks = list(stream)
    told = {"modalities": ["image"], "prompt": "what is this", "fuse": None, "score": None}
    assert chunks[0].lens_plugins == told
    assert not any(hasattr(chunk, "lens_plugins") for chunk in chunks[1:])
    model = client.models.retrieve("small")
    assert (model.default_place, model.places) == ("vit", ["vit", "qformer", "llm"])
    drawn = client.images.generate(model="seed", prompt="", extra_body={"input": [part("image")], "steps": 1})
    assert drawn.data[0].revised_prompt == hosts["seed"].prompt_of(None, 1)
    with server.http() as http:
        body = {"input": ["a photo", part("depth")], "labels": ["photo", "piano"]}
        assert [one["modality"] for one in http.post("/v1/classify", json=body).json()["data"]] == ["text", "depth"]


def test_a_modality_in_front_of_a_file_name(client):
    url = part("tactile")["tactile_url"]["url"]
    file = {"type": "file", "file": {"filename": "tactile:a.png", "file_data": url}}
    made = client.chat.completions.create(model="small", messages=[{"role": "user", "content": [file]}], max_tokens=4)
    assert made.lens_plugins["modalities"] == ["tactile"]
