#include "checkpoint/tokenizer_config.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "checkpoint/token_table.h"
#include "checkpoint/tokenizer_steps.h"
#include "checkpoint/unigram_config.h"
#include "checkpoint/wordpiece_config.h"
#include "model/space_mark.h"
#include "model/vocabulary.h"

namespace exo::checkpoint {
namespace {

using model::TokenType;
using nlohmann::json;

constexpr float kNeverMerged = -1e9f;  // the score of a token that no merge makes

Result<void> ReadVocabulary(const Fields& model, bool byte_fallback, TokenTable& table) {
  const json* vocab = model.Find("vocab");
  if (vocab == nullptr || !vocab->is_object())
    return Fail(ErrorCode::kCorrupt, "{} has no 'vocab' of texts and ids", model.document());
  for (const auto& [text, id] : vocab->items()) {
    if (!id.is_number_unsigned()) {
      return Fail(ErrorCode::kCorrupt, "{}: the token '{}' has no id", model.document(), text);
    }
    const bool byte = byte_fallback && model::ByteOfToken(text) >= 0;
    TRY(table.Put(model, id.get<uint64_t>(), text, byte ? TokenType::kByte : TokenType::kNormal));
  }
  return {};
}

Result<void> ReadAddedTokens(const Fields& tokenizer, TokenTable& table) {
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

// Ids between added tokens may be free (o200k's are); the first `own`, the model's, may not.
Result<void> FillHoles(const Fields& tokenizer, size_t own, TokenTable& table) {
  for (size_t id = 0; id < table.texts.size(); ++id) {
    if (!table.texts[id].empty()) continue;
    if (table.IsFree(id) && id < own) {
      return Fail(ErrorCode::kCorrupt, "{}: no token has the id {}, and one has the id {}",
                  tokenizer.document(), id, own - 1);
    }
    table.texts[id] = fmt::format("[PAD{}]", id);
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
  TRY(CheckByteLevelNormalizer(tokenizer));
  metadata.Text("tokenizer.ggml.model", "gpt2");
  metadata.Text("tokenizer.ggml.pre",
                TRY(PreTokenizerNameOf(tokenizer, TRY(model.Bool("ignore_merges", false)))));
  std::vector<std::string> lines;
  for (const Merge& merge : TRY(ReadMergeList(model)))
    lines.push_back(merge.left + " " + merge.right);
  metadata.Texts("tokenizer.ggml.merges", lines);
  return {};
}

Result<bool> Prepends(const Fields& step) {
  const std::string type = TRY(step.Text("type"));
  if (type == "Prepend") return true;
  return type == "Metaspace" &&
         TRY(step.Text("prepend_scheme", std::string("always"))) != "never" &&
         TRY(step.Bool("add_prefix_space", true));
}

// Whether a space is put in front of a text, by the normalizer or by the pre-tokenizer.
Result<bool> PrependsSpace(const Fields& tokenizer) {
  for (const std::string_view key : {"normalizer", "pre_tokenizer"}) {
    for (const Fields& step : TRY(StepsOf(tokenizer, key))) {
      if (TRY(Prepends(step))) return true;
    }
  }
  return false;
}

// SentencePiece's BPE merges by scores: those of a model are the ranks of its merges, negative.
Result<void> WriteSentencePiece(const Fields& tokenizer, const Fields& model, TokenTable& table,
                                Metadata& metadata) {
  TRY(CheckSentencePieceSteps(tokenizer));
  metadata.Text("tokenizer.ggml.model", "llama");
  metadata.Text("tokenizer.ggml.pre", "default");
  metadata.Bool("tokenizer.ggml.add_space_prefix", TRY(PrependsSpace(tokenizer)));
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
std::optional<TokenId> NamedToken(const Fields& fields, std::string_view key,
                                  const TokenTable& table) {
  const json* value = fields.Find(key);
  if (value != nullptr && value->is_object()) {
    const auto content = value->find("content");
    value = content == value->end() ? nullptr : &*content;
  }
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return table.Find(value->get<std::string>());
}

// Texts of the special tokens that a post-processor puts around a text; empty: none.
struct TokensAround {
  std::string front, behind;
};

std::string SpecialTokenOf(const json& part) {
  const json token = part.is_object() ? part.value("SpecialToken", json()) : json();
  const json id = token.is_object() ? token.value("id", json()) : json();
  return id.is_string() ? id.get<std::string>() : std::string();
}

// "cls" and "sep" of BertProcessing: [text, id].
std::string PairText(const json& step, std::string_view key) {
  const auto pair = step.find(key);
  const bool named = pair != step.end() && pair->is_array() && !pair->empty();
  return named && (*pair)[0].is_string() ? (*pair)[0].get<std::string>() : std::string();
}

void AddTokensAround(const json& step, TokensAround& around) {
  if (!step.is_object()) return;
  if (step.value("type", json()) == "BertProcessing")
    around = {.front = PairText(step, "cls"), .behind = PairText(step, "sep")};
  const json single = step.value("single", json());
  if (!single.is_array() || single.empty()) return;
  if (const std::string text = SpecialTokenOf(single.front()); !text.empty()) around.front = text;
  if (const std::string text = SpecialTokenOf(single.back()); !text.empty()) around.behind = text;
}

// Of the post-processor or its steps.
TokensAround FindTokensAround(const json* processor) {
  TokensAround around;
  if (processor == nullptr) return around;
  AddTokensAround(*processor, around);
  const auto steps = processor->find("processors");
  if (steps != processor->end()) {
    for (const json& step : *steps) AddTokensAround(step, around);
  }
  return around;
}

// What tokenizer_config.json says under `key`, or else whether the post-processor does so.
bool Adds(const Fields& tokenizer_config, std::string_view key, bool processor_does) {
  const json* asked = tokenizer_config.Find(key);
  return asked != nullptr && asked->is_boolean() ? asked->get<bool>() : processor_does;
}

void WriteSpecialTokens(const TokenizerDocuments& documents, const TokenTable& table,
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
  const TokensAround around = FindTokensAround(documents.tokenizer.Find("post_processor"));
  auto bos = NamedToken(documents.tokenizer_config, "bos_token", table);
  const std::vector<uint64_t> begins = IdsOf(documents.config, "bos_token_id");
  if (!bos && !begins.empty() && in_table(begins[0])) bos = static_cast<TokenId>(begins[0]);
  if (!bos && !around.front.empty()) bos = table.Find(around.front);
  write("bos", bos);
  metadata.Bool("tokenizer.ggml.add_bos_token",
                bos && Adds(documents.tokenizer_config, "add_bos_token", !around.front.empty()));
  const auto end = around.behind.empty() ? std::nullopt : table.Find(around.behind);
  metadata.Bool("tokenizer.ggml.add_eos_token",
                eos && Adds(documents.tokenizer_config, "add_eos_token", end == eos));
  write("seperator", end == eos ? std::nullopt : end);
  metadata.Bool("tokenizer.ggml.add_sep_token", end && end != eos);
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

// Old files do not name the kind.
std::string_view KindByKeys(const Fields& model) {
  if (model.Has("unk_id")) return "Unigram";
  return model.Has("max_input_chars_per_word") ? "WordPiece" : "BPE";
}

}  // namespace

Result<void> ReadTokenizer(const TokenizerDocuments& documents, Metadata& metadata) {
  const Fields& tokenizer = documents.tokenizer;
  const auto model = TRY(tokenizer.Object("model"));
  if (!model) return Fail(ErrorCode::kCorrupt, "{} has no 'model'", tokenizer.document());
  const std::string type = TRY(model->Text("type", std::string(KindByKeys(*model))));
  if (type != "BPE" && type != "Unigram" && type != "WordPiece") {
    return Fail(ErrorCode::kUnsupported,
                "{}: a vocabulary of the kind {} (this build reads BPE, Unigram and WordPiece)",
                tokenizer.document(), type);
  }
  TokenTable table;
  const bool byte_fallback = TRY(model->Bool("byte_fallback", false));
  if (type == "Unigram") {
    TRY(ReadPieces(*model, byte_fallback, table));
  } else {
    TRY(ReadVocabulary(*model, byte_fallback, table));
  }
  const size_t own = table.texts.size();
  TRY(ReadAddedTokens(tokenizer, table));
  TRY(FillHoles(tokenizer, own, table));
  if (type == "Unigram") {
    TRY(WriteUnigram(tokenizer, TRY(PrependsSpace(tokenizer)), table, metadata));
  } else if (type == "WordPiece") {
    TRY(WriteWordPiece(tokenizer, table, metadata));
  } else if (byte_fallback || table.Find(model::kSpaceMark)) {
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
