// Writes GGUF files in memory, sound or deliberately wrong. For tests only.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/gguf_value.h"
#include "model/gguf_writer.h"

namespace exo::model {

class GgufBuilder {
 public:
  uint32_t magic = kGgufMagic;
  uint32_t version = kGgufVersion;
  uint64_t alignment = 32;
  uint64_t claimed_tensors = ~uint64_t{0};  // instead of the true count
  uint64_t claimed_keys = ~uint64_t{0};

  GgufBuilder& Uint(std::string_view key, uint32_t value) {
    return Key(key, ValueType::kU32, EncodeNumber(value));
  }
  GgufBuilder& Float(std::string_view key, float value) {
    return Key(key, ValueType::kF32, EncodeNumber(value));
  }
  GgufBuilder& Bool(std::string_view key, bool value) {
    return Key(key, ValueType::kBool, EncodeNumber(static_cast<uint8_t>(value)));
  }
  GgufBuilder& String(std::string_view key, std::string_view value) {
    return Key(key, ValueType::kString, EncodeText(value));
  }
  GgufBuilder& Strings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = EncodeNumber(ValueType::kString) + EncodeNumber(uint64_t{values.size()});
    for (const std::string& value : values) bytes += EncodeText(value);
    return Key(key, ValueType::kArray, bytes);
  }
  template <class T>
  GgufBuilder& Numbers(std::string_view key, ValueType type, const std::vector<T>& values) {
    std::string bytes = EncodeNumber(type) + EncodeNumber(uint64_t{values.size()});
    for (const T& value : values) bytes += EncodeNumber(value);
    return Key(key, ValueType::kArray, bytes);
  }
  // A key with any type number and any bytes behind it.
  GgufBuilder& Key(std::string_view key, ValueType type, std::string_view bytes) {
    keys_.push_back(EncodeKey(key, type, bytes));
    return *this;
  }
  // An F32 (or other) tensor; `bytes` of data follow the ones before. offset: instead of the right
  // one.
  GgufBuilder& Tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                      uint64_t bytes, uint64_t offset = ~uint64_t{0}) {
    tensors_.push_back(EncodeTensor(name, dims, type, offset == ~uint64_t{0} ? data_ : offset));
    data_ += (bytes + alignment - 1) / alignment * alignment;
    return *this;
  }

  std::string Build() const {
    std::string file = EncodeNumber(magic) + EncodeNumber(version);
    file +=
        EncodeNumber(claimed_tensors == ~uint64_t{0} ? uint64_t{tensors_.size()} : claimed_tensors);
    file += EncodeNumber(claimed_keys == ~uint64_t{0} ? uint64_t{keys_.size()} : claimed_keys);
    for (const std::string& key : keys_) file += key;
    for (const std::string& tensor : tensors_) file += tensor;
    file.resize((file.size() + alignment - 1) / alignment * alignment + data_);
    return file;
  }

 private:
  std::vector<std::string> keys_;
  std::vector<std::string> tensors_;
  uint64_t data_ = 0;
};

inline Result<Gguf> ParseText(std::string_view file) {
  return Gguf::Parse(std::as_bytes(std::span(file.data(), file.size())));
}

// The metadata and tensors of a tiny sound model: 1 layer, width 32, 2 heads, 4 tokens; 4 experts,
// 2 for each token. Without the tensors named in `without`.
inline GgufBuilder TinyModel(const std::string& architecture) {
  GgufBuilder file;
  const auto key = [&](const char* name) { return architecture + "." + name; };
  file.String("general.architecture", architecture)
      .Uint(key("block_count"), 1)
      .Uint(key("context_length"), 64);
  file.Uint(key("embedding_length"), 32)
      .Uint(key("feed_forward_length"), 64)
      .Uint(key("attention.head_count"), 2);
  file.Uint(key("attention.head_count_kv"), 1)
      .Float(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  if (architecture.ends_with("moe")) {
    file.Uint(key("expert_count"), 4).Uint(key("expert_used_count"), 2);
    file.Uint(key("expert_feed_forward_length"), 8);
  }
  if (architecture == "qwen2moe") file.Uint(key("expert_shared_feed_forward_length"), 24);
  return file;
}

inline GgufBuilder& TinyTensors(GgufBuilder& file, const std::string& architecture,
                                std::string_view without = "") {
  const auto f32 = [&](const std::string& name, uint64_t cols, uint64_t rows, uint64_t count = 1) {
    std::vector<uint64_t> dims = {cols};
    if (rows > 1) dims.push_back(rows);
    if (count > 1) dims.push_back(count);
    if (name != without) file.Tensor(name, dims, 0, 4 * cols * rows * count);
  };
  const auto gated = [&](const std::string& suffix, uint64_t ffn, uint64_t count) {
    f32("blk.0.ffn_gate" + suffix, 32, ffn, count);
    f32("blk.0.ffn_up" + suffix, 32, ffn, count);
    f32("blk.0.ffn_down" + suffix, ffn, 32, count);
  };
  f32("token_embd.weight", 32, 4);
  f32("output_norm.weight", 32, 1);
  const std::string layer = "blk.0.";
  f32(layer + "attn_norm.weight", 32, 1);
  f32(layer + "attn_q.weight", 32, 32);
  f32(layer + "attn_k.weight", 32, 16);
  f32(layer + "attn_v.weight", 32, 16);
  f32(layer + "attn_output.weight", 32, 32);
  f32(layer + "ffn_norm.weight", 32, 1);
  if (architecture.ends_with("moe")) {
    f32(layer + "ffn_gate_inp.weight", 32, 4);
    gated("_exps.weight", 8, 4);
  } else {
    gated(".weight", 64, 1);
  }
  if (architecture == "qwen2moe") {
    f32(layer + "ffn_gate_inp_shexp.weight", 32, 1);
    gated("_shexp.weight", 24, 1);
  }
  if (architecture.starts_with("qwen2")) {
    f32(layer + "attn_q.bias", 32, 1);
    f32(layer + "attn_k.bias", 16, 1);
    f32(layer + "attn_v.bias", 16, 1);
  }
  if (architecture.starts_with("qwen3") || architecture == "gemma3") {
    f32(layer + "attn_q_norm.weight", 16, 1);
    f32(layer + "attn_k_norm.weight", 16, 1);
  }
  if (architecture == "gemma3") {
    f32(layer + "post_attention_norm.weight", 32, 1);
    f32(layer + "post_ffw_norm.weight", 32, 1);
  }
  return file;
}

// Byte-level BPE with all bytes, two merges and two control tokens.
inline GgufBuilder SmallBpe(const std::string& pre = "gpt-2") {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int i = 0; i < 256; ++i) {
    const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
    static const auto others = [] {
      std::vector<int> order;
      for (int b = 0; b < 256; ++b) {
        if (!((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174)) order.push_back(b);
      }
      return order;
    }();
    const int code =
        printable ? i : 256 + static_cast<int>(std::ranges::find(others, i) - others.begin());
    std::string text;
    if (code < 128) {
      text = static_cast<char>(code);
    } else {
      text = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    }
    tokens.push_back(text);
    types.push_back(1);
  }
  for (const char* merged : {"ab", "abab"}) {
    tokens.push_back(merged);
    types.push_back(1);
  }
  for (const char* control : {"<|end|>", "<|en"}) {
    tokens.push_back(control);
    types.push_back(3);
  }
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", pre)
      .Strings("tokenizer.ggml.tokens", tokens);
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32, types);
  file.Strings("tokenizer.ggml.merges", {"a b", "ab ab"}).Uint("tokenizer.ggml.eos_token_id", 258);
  return file;
}

// SentencePiece with byte tokens and a few words.
inline GgufBuilder SmallSpm() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int i = 0; i < 256; ++i) {
    tokens.push_back(fmt::format("<0x{:02X}>", i));
    types.push_back(6);
    scores.push_back(0);
  }
  for (const char* word : {"\xe2\x96\x81", "a", "b", "ab",
                           "\xe2\x96\x81"
                           "ab"}) {
    tokens.push_back(word);
    types.push_back(1);
    scores.push_back(-static_cast<float>(tokens.size()));
  }
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "llama").Strings("tokenizer.ggml.tokens", tokens);
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32, types);
  file.Numbers<float>("tokenizer.ggml.scores", ValueType::kF32, scores);
  return file;
}

// WordPiece with a few words, as converters write it; its ids are at the words.
inline GgufBuilder SmallWordPiece() {
  GgufBuilder file;
  file.String("tokenizer.ggml.model", "bert")
      .Strings("tokenizer.ggml.tokens",
               {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "\xe2\x96\x81un", "aff", "able",
                "\xe2\x96\x81"
                "a",
                "a", "\xe2\x96\x81.", "\xe2\x96\x81\xe4\xb8\x80",
                "\xe2\x96\x81"
                "caf\xc3\xa9",
                "\xe2\x96\x81"
                "cafe",
                "\xe2\x96\x81"
                "A",
                "b"});
  file.Numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32,
                        {3, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3});
  file.Uint("tokenizer.ggml.unknown_token_id", 1).Uint("tokenizer.ggml.cls_token_id", 2);
  return file.Uint("tokenizer.ggml.seperator_token_id", 3);
}

}  // namespace exo::model
