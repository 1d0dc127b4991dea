#include "checkpoint/tokenizer_config.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "model/keys.h"
#include "model/vocabulary.h"

namespace exo::checkpoint {
namespace {

using model::TokenType;
using nlohmann::json;

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581
constexpr float kNeverMerged = -1e9f;                    // the score of a token that no merge makes

// The table of tokens as it grows.
struct Table {
  std::vector<std::string> texts;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::map<std::string, TokenId, std::less<>> ids;

  Result<void> Put(const Fields& of, uint64_t id, const std::string& text, TokenType type) {
    if (id >= model::kMaxVocab) {
      return Fail(ErrorCode::kCorrupt, "{}: the token '{}' has the id {} (limit {})", of.document(),
                  text, id, model::kMaxVocab);
    }
    if (id >= texts.size()) {
      texts.resize(id + 1);
      types.resize(id + 1, static_cast<int32_t>(TokenType::kUnused));
    }
    texts[id] = text;
    types[id] = static_cast<int32_t>(type);
    ids.insert_or_assign(text, static_cast<TokenId>(id));
    return {};
  }
  std::optional<TokenId> Find(std::string_view text) const {
    const auto found = ids.find(text);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  }
};

bool IsByteToken(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
}

Result<void> ReadVocabulary(const Fields& model, bool byte_fallback, Table& table) {
  const json* vocab = model.Find("vocab");
  if (vocab == nullptr || !vocab->is_object())
    return Fail(ErrorCode::kCorrupt, "{} has no 'vocab' of texts and ids", model.document());
  for (const auto& [text, id] : vocab->items()) {
    if (!id.is_number_unsigned()) {
      return Fail(ErrorCode::kCorrupt, "{}: the token '{}' has no id", model.document(), text);
    }
    const bool byte = byte_fallback && IsByteToken(text);
    TRY(table.Put(model, id.get<uint64_t>(), text, byte ? TokenType::kByte : TokenType::kNormal));
  }
  return {};
}

Result<void> ReadAddedTokens(const Fields& tokenizer, Table& table) {
  const json* added = tokenizer.Find("added_tokens");
  if (added == nullptr) return {};
  for (const json& entry : *added) {
    if (!entry.is_object())
      return Fail(ErrorCode::kCorrupt, "{}: an added token is no object", tokenizer.document());
    const Fields token(entry, tokenizer.document() + ": an added token");
    TRY(table.Put(
        tokenizer, TRY(token.Uint("id")), TRY(token.Text("content")),
        TRY(token.Bool("special", false)) ? TokenType::kControl : TokenType::kUserDefined));
  }
  return {};
}

struct Merge {
  std::string left, right;
};

// "left right" or ["left", "right"].
Result<std::vector<Merge>> ReadMergeList(const Fields& model) {
  std::vector<Merge> merges;
  const json* list = model.Find("merges");
  if (list == nullptr || !list->is_array())
    return Fail(ErrorCode::kCorrupt, "{} has no list of 'merges'", model.document());
  merges.reserve(list->size());
  for (const json& entry : *list) {
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      merges.push_back({entry[0].get<std::string>(), entry[1].get<std::string>()});
      continue;
    }
    const std::string line = entry.is_string() ? entry.get<std::string>() : std::string();
    const size_t space = line.find(' ', 1);
    if (space == std::string::npos) {
      return Fail(ErrorCode::kCorrupt, "{}: merge {} has no two parts", model.document(),
                  merges.size());
    }
    merges.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return merges;
}

Result<void> WriteByteLevel(const Fields& tokenizer, const Fields& model, Metadata& metadata) {
  metadata.Text("tokenizer.ggml.model", "gpt2");
  metadata.Text("tokenizer.ggml.pre",
                TRY(PreTokenizerNameOf(tokenizer, TRY(model.Bool("ignore_merges", false)))));
  std::vector<std::string> lines;
  for (const Merge& merge : TRY(ReadMergeList(model)))
    lines.push_back(merge.left + " " + merge.right);
  metadata.Texts("tokenizer.ggml.merges", lines);
  return {};
}

bool Prepends(const json& step) {
  if (!step.is_object()) return false;
  if (step.value("type", json()) == "Prepend") return true;
  return step.value("type", json()) == "Metaspace" &&
         step.value("prepend_scheme", json("always")) != "never" &&
         step.value("add_prefix_space", json(true)) != json(false);
}

// Whether a space is put in front of a text, by the normalizer or by the pre-tokenizer.
bool PrependsSpace(const Fields& tokenizer) {
  for (const auto& [key, list] :
       {std::pair{"normalizer", "normalizers"}, std::pair{"pre_tokenizer", "pretokenizers"}}) {
    const json* step = tokenizer.Find(key);
    if (step == nullptr || !step->is_object()) continue;
    if (Prepends(*step)) return true;
    const auto steps = step->find(list);
    if (steps != step->end() && std::ranges::any_of(*steps, Prepends)) return true;
  }
  return false;
}

// SentencePiece's BPE merges by scores: those of a model are the ranks of its merges, negative.
Result<void> WriteSentencePiece(const Fields& tokenizer, const Fields& model, Table& table,
                                Metadata& metadata) {
  metadata.Text("tokenizer.ggml.model", "llama");
  metadata.Text("tokenizer.ggml.pre", "default");
  metadata.Bool("tokenizer.ggml.add_space_prefix", PrependsSpace(tokenizer));
  table.scores.assign(table.texts.size(), kNeverMerged);
  float rank = 0;
  for (const Merge& merge : TRY(ReadMergeList(model))) {
    if (const auto id = table.Find(merge.left + merge.right)) {
      float& score = table.scores[static_cast<size_t>(*id)];
      if (score == kNeverMerged) score = -rank;
    }
    ++rank;
  }
  if (const auto unknown = table.Find(TRY(model.Text("unk_token", std::string("<unk>"))))) {
    table.types[static_cast<size_t>(*unknown)] = static_cast<int32_t>(TokenType::kUnknown);
    metadata.Uint("tokenizer.ggml.unknown_token_id", static_cast<uint64_t>(*unknown));
  }
  return {};
}

// The pieces of a unigram vocabulary: a list of [text, log probability].
Result<void> ReadPieces(const Fields& model, bool byte_fallback, Table& table) {
  const json* list = model.Find("vocab");
  if (list == nullptr || !list->is_array())
    return Fail(ErrorCode::kCorrupt, "{} has no 'vocab' of pieces", model.document());
  for (const json& piece : *list) {
    const size_t id = table.texts.size();
    if (!piece.is_array() || piece.size() != 2 || !piece[0].is_string() || !piece[1].is_number())
      return Fail(ErrorCode::kCorrupt, "{}: piece {} is no text with a number", model.document(),
                  id);
    const std::string text = piece[0].get<std::string>();
    const bool byte = byte_fallback && IsByteToken(text);
    TRY(table.Put(model, id, text, byte ? TokenType::kByte : TokenType::kNormal));
    table.scores.push_back(piece[1].get<float>());
  }
  return {};
}

// What a step of a unigram's normalizer or pre-tokenizer is to GGUF's keys.
struct UnigramSteps {
  bool merges_spaces = false;
  std::string charsmap;  // base64
};

Result<void> AddUnigramStep(const Fields& step, UnigramSteps& steps) {
  const std::string type = TRY(step.Text("type"));
  if (type == "Precompiled") {
    steps.charsmap = TRY(step.Text("precompiled_charsmap"));
    return {};
  }
  if (type == "WhitespaceSplit") {
    steps.merges_spaces = true;
    return {};
  }
  if (type == "Replace") {
    const auto pattern = TRY(step.Object("pattern"));
    const std::string from = pattern ? TRY(pattern->Text("Regex", std::string())) : std::string();
    if (from == " {2,}") steps.merges_spaces = true;
    if (from == " {2,}" || (pattern && TRY(pattern->Text("String", std::string())) == " "))
      return {};
  }
  if (type == "Metaspace" || type == "Prepend" || type == "Strip") return {};
  return Fail(
      ErrorCode::kUnsupported,
      "{}: a step of the kind {} before a unigram vocabulary; take a GGUF file of the model",
      step.document(), type);
}

Result<UnigramSteps> ReadUnigramSteps(const Fields& tokenizer) {
  UnigramSteps steps;
  for (const auto& [key, list] :
       {std::pair{"normalizer", "normalizers"}, std::pair{"pre_tokenizer", "pretokenizers"}}) {
    const auto step = TRY(tokenizer.Object(key));
    if (!step) continue;
    const json* several = step->Find(list);
    if (several == nullptr) {
      TRY(AddUnigramStep(*step, steps));
      continue;
    }
    for (const json& one : *several) {
      if (!one.is_object())
        return Fail(ErrorCode::kCorrupt, "{}: a step is no object", step->document());
      TRY(AddUnigramStep(Fields(one, step->document()), steps));
    }
  }
  return steps;
}

Result<std::vector<uint8_t>> FromBase64(std::string_view text, std::string_view what) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (text.ends_with('=')) text.remove_suffix(1);
  std::vector<uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0, count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == kDigits.npos)
      return Fail(ErrorCode::kCorrupt, "{} is not base64: it has the byte {}", what,
                  static_cast<uint8_t>(c));
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<uint8_t>(bits >> count));
  }
  return bytes;
}

Result<void> WriteUnigram(const Fields& tokenizer, const Fields& model, Table& table,
                          Metadata& metadata) {
  const UnigramSteps steps = TRY(ReadUnigramSteps(tokenizer));
  metadata.Text("tokenizer.ggml.model", "t5");
  metadata.Text("tokenizer.ggml.pre", "default");
  metadata.Bool("tokenizer.ggml.add_space_prefix", PrependsSpace(tokenizer));
  metadata.Bool("tokenizer.ggml.remove_extra_whitespaces", steps.merges_spaces);
  if (!steps.charsmap.empty()) {
    metadata.Numbers("tokenizer.ggml.precompiled_charsmap", model::ValueType::kU8,
                     TRY(FromBase64(steps.charsmap, "precompiled_charsmap")));
  }
  table.scores.resize(table.texts.size());
  const uint64_t unknown = TRY(model.Uint("unk_id", 0));
  if (unknown >= table.texts.size()) {
    return Fail(ErrorCode::kCorrupt, "{}: the unk_id {} of {} tokens", model.document(), unknown,
                table.texts.size());
  }
  table.types[unknown] = static_cast<int32_t>(TokenType::kUnknown);
  metadata.Uint("tokenizer.ggml.unknown_token_id", unknown);
  return {};
}

// Ids under a key that has one number or a list of them.
std::vector<uint64_t> IdsOf(const Fields& fields, std::string_view key) {
  std::vector<uint64_t> ids;
  const json* value = fields.Find(key);
  if (value == nullptr) return ids;
  for (const json& id : value->is_array() ? *value : json::array({*value})) {
    if (id.is_number_unsigned()) ids.push_back(id.get<uint64_t>());
  }
  return ids;
}

// A token that tokenizer_config.json names: as a text or as {"content": text}.
std::optional<TokenId> NamedToken(const Fields& fields, std::string_view key, const Table& table) {
  const json* value = fields.Find(key);
  if (value != nullptr && value->is_object()) {
    const auto content = value->find("content");
    value = content == value->end() ? nullptr : &*content;
  }
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return table.Find(value->get<std::string>());
}

bool BeginsWithToken(const json& step) {
  const json single = step.is_object() ? step.value("single", json()) : json();
  return single.is_array() && !single.empty() && single[0].is_object() &&
         single[0].contains("SpecialToken");
}

// Whether the post-processor, or one of its steps, puts a special token in front of a text.
bool PutsTokenInFront(const json* processor) {
  if (processor == nullptr || !processor->is_object()) return false;
  const auto steps = processor->find("processors");
  return BeginsWithToken(*processor) ||
         (steps != processor->end() && std::ranges::any_of(*steps, BeginsWithToken));
}

void WriteSpecialTokens(const TokenizerDocuments& documents, const Table& table,
                        Metadata& metadata) {
  const auto write = [&](std::string_view name, std::optional<TokenId> id) {
    if (id) metadata.Uint(fmt::format("tokenizer.ggml.{}_token_id", name), *id);
  };
  const auto in_table = [&](uint64_t id) { return id < table.texts.size(); };
  std::vector<uint64_t> ends = IdsOf(documents.config, "eos_token_id");
  std::ranges::copy(IdsOf(documents.generation_config, "eos_token_id"), std::back_inserter(ends));
  std::erase_if(ends, [&](uint64_t id) { return !in_table(id); });
  auto eos = NamedToken(documents.tokenizer_config, "eos_token", table);
  if (!eos && !ends.empty()) eos = static_cast<TokenId>(ends[0]);
  write("eos", eos);
  // A chat ends its turns with another token than texts.
  for (const uint64_t id : ends) {
    if (static_cast<TokenId>(id) == eos) continue;
    write("eot", static_cast<TokenId>(id));
    break;
  }
  auto bos = NamedToken(documents.tokenizer_config, "bos_token", table);
  const std::vector<uint64_t> begins = IdsOf(documents.config, "bos_token_id");
  if (!bos && !begins.empty() && in_table(begins[0])) bos = static_cast<TokenId>(begins[0]);
  write("bos", bos);
  const json* asked = documents.tokenizer_config.Find("add_bos_token");
  const bool add = asked != nullptr && asked->is_boolean()
                       ? asked->get<bool>()
                       : PutsTokenInFront(documents.tokenizer.Find("post_processor"));
  metadata.Bool("tokenizer.ggml.add_bos_token", add && bos.has_value());
}

// One template, or the one called "default" of several.
void WriteTemplate(const TokenizerDocuments& documents, Metadata& metadata) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  if (!documents.chat_template.empty()) return metadata.Text(kKey, documents.chat_template);
  const json* found = documents.tokenizer_config.Find("chat_template");
  if (found == nullptr) return;
  if (found->is_string()) return metadata.Text(kKey, found->get<std::string>());
  if (!found->is_array()) return;
  for (const json& entry : *found) {
    if (!entry.is_object() || entry.value("name", json()) != "default") continue;
    const json text = entry.value("template", json());
    if (text.is_string()) metadata.Text(kKey, text.get<std::string>());
  }
}

}  // namespace

Result<void> ReadTokenizer(const TokenizerDocuments& documents, Metadata& metadata) {
  const Fields& tokenizer = documents.tokenizer;
  const auto model = TRY(tokenizer.Object("model"));
  if (!model) return Fail(ErrorCode::kCorrupt, "{} has no 'model'", tokenizer.document());
  const std::string type =
      TRY(model->Text("type", std::string(model->Has("unk_id") ? "Unigram" : "BPE")));
  if (type != "BPE" && type != "Unigram") {
    return Fail(ErrorCode::kUnsupported,
                "{}: a vocabulary of the kind {} (this build reads BPE and Unigram)",
                tokenizer.document(), type);
  }
  Table table;
  const bool byte_fallback = TRY(model->Bool("byte_fallback", false));
  if (type == "BPE") {
    TRY(ReadVocabulary(*model, byte_fallback, table));
  } else {
    TRY(ReadPieces(*model, byte_fallback, table));
  }
  TRY(ReadAddedTokens(tokenizer, table));
  for (size_t i = 0; i < table.texts.size(); ++i) {
    if (table.texts[i].empty()) table.texts[i] = fmt::format("[PAD{}]", i);
  }
  if (type == "Unigram") {
    TRY(WriteUnigram(tokenizer, *model, table, metadata));
  } else if (byte_fallback || table.Find(kSpaceMark)) {
    TRY(WriteSentencePiece(tokenizer, *model, table, metadata));
  } else {
    TRY(WriteByteLevel(tokenizer, *model, metadata));
  }
  metadata.Texts("tokenizer.ggml.tokens", table.texts);
  metadata.Numbers("tokenizer.ggml.token_type", model::ValueType::kI32, table.types);
  if (!table.scores.empty())
    metadata.Numbers("tokenizer.ggml.scores", model::ValueType::kF32, table.scores);
  WriteSpecialTokens(documents, table, metadata);
  WriteTemplate(documents, metadata);
  return {};
}

}  // namespace exo::checkpoint
