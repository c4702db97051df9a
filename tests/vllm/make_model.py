"""Make the lab's model: a Qwen2 with random weights and a byte-level BPE trained on Python's own standard library.

    CACHE/venv/bin/python make_model.py CACHE/model

Nothing is downloaded and nothing is random from run to run. The weights are big enough (512 wide, 8 layers) that a prefill on
one core takes visible time: about a second for 1,000 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
CORPUS_CHARACTERS = 3_000_000
CONTEXT_TOKENS = 32768
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TOKENS = [END_OF_TEXT, TURN_START, TURN_END]
TOOL_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def corpus() -> Iterator[str]:
    """Yield the top-level modules of the standard library, in order of name, up to `CORPUS_CHARACTERS`."""
    left = CORPUS_CHARACTERS
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        yield text[:left]
        left -= len(text)
        if left <= 0:
            return


def save_tokenizer(folder: Path) -> int:
    """Train the tokenizer, save it with the chat template, and return the size of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # The markers of tool calls are not special: the engine must keep them in the text, where its parser looks for them.
    markers = [AddedToken(text, special=text in CONTROL_TOKENS, normalized=False) for text in CONTROL_TOKENS + TOOL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=4096, special_tokens=markers, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    saved = json.loads(tokenizer.to_str())  # training marks every one of them as special
    for token in saved["added_tokens"]:
        token["special"] = token["content"] in CONTROL_TOKENS
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(saved)),
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE.read_text(encoding="utf-8")
    wrapped.save_pretrained(folder)
    return len(wrapped)


def save_model(folder: Path, vocabulary: int) -> None:
    """Draw the weights from a fixed seed and save them with their config."""
    ends = {"bos_token_id": 0, "pad_token_id": 0, "eos_token_id": CONTROL_TOKENS.index(TURN_END)}
    config = Qwen2Config(
        vocab_size=-(-vocabulary // 64) * 64,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        **ends,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    GenerationConfig(**ends).save_pretrained(folder)


def main() -> None:
    """Make the model beside its final place and move it there when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the model goes; replaces what is there")
    folder: Path = parser.parse_args().folder
    logging.disable_progress_bar()
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        save_model(unfinished, save_tokenizer(unfinished))
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


if __name__ == "__main__":
    main()
