"""Words and bodies of calls, by what tells them apart."""


def words(count, salt):
    return " ".join(f"{salt}{number:x}" for number in range(count))


def chat(*texts, system="be brief", **fields):
    roles = ("user", "assistant")
    messages = [{"role": "system", "content": system}]
    messages += [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return {"model": "sim", "messages": messages, "max_tokens": 8, "ignore_eos": True, **fields}
