#include "model/vocabulary.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace exo::model {
namespace {

// Names by which vocabularies end a turn or a text.
constexpr std::array<std::string_view, 15> kEndNames = {
    "</s>",     "<|eot_id|>",      "<|im_end|>",         "<|end|>",    "<|return|>",
    "<|call|>", "<end_of_turn>",   "<|endoftext|>",      "<|eom_id|>", "<EOT>",
    "_<EOT>",   "<|end_of_text|>", "<end_of_utterance>", "[EOT]",      "<｜end▁of▁sentence｜>"};

// User-defined tokens are found in anybody's text. Tokens that structure a conversation may not be,
// whatever the file calls them: those in kEndNames, those written <|…|> and what begins a turn of
// Gemma.
bool IsControlName(std::string_view text) {
  return std::ranges::find(kEndNames, text) != kEndNames.end() || text == "<start_of_turn>" ||
         (text.starts_with("<|") && text.ends_with("|>"));
}

// Converters forget to mark the end of a turn as special (llama.cpp corrects the same names). Plain
// text is never a reason to end: "</s>" and "<EOT>" count only when the file marks them.
bool IsUnmarkedEnd(std::string_view text) {
  return std::ranges::find(kEndNames, text) != kEndNames.end() &&
         (text.starts_with("<|") || text == "<end_of_turn>" || text == "<end_of_utterance>");
}

std::unexpected<Error> Bad(const Error& error) {
  return Fail(ErrorCode::kCorrupt, "the vocabulary is damaged: {}", error.message);
}

// The id under `key`, `absent` when there is no such key (-1: none; also when it does not exist
// here).
Result<TokenId> ReadId(const Gguf& gguf, std::string_view key, TokenId absent, size_t size) {
  if (gguf.Find(key) == nullptr) return absent < static_cast<TokenId>(size) ? absent : -1;
  const auto value = gguf.GetUint(key);
  if (!value) return Bad(value.error());
  if (*value >= size) {
    return Fail(ErrorCode::kCorrupt, "the key '{}' names token {} of a vocabulary of {}", key,
                *value, size);
  }
  return static_cast<TokenId>(*value);
}

Result<void> ReadTypes(const Gguf& gguf, Vocabulary& vocabulary) {
  vocabulary.types.assign(vocabulary.size(), TokenType::kNormal);
  if (gguf.Find("tokenizer.ggml.token_type") == nullptr) return {};
  const auto types = gguf.GetInts("tokenizer.ggml.token_type");
  if (!types) return Bad(types.error());
  if (types->size() != vocabulary.size()) {
    return Fail(ErrorCode::kCorrupt, "{} tokens with {} token types", vocabulary.size(),
                types->size());
  }
  for (size_t i = 0; i < types->size(); ++i) {
    const int64_t type = (*types)[i];
    if (type < 0 || type > 6)
      return Fail(ErrorCode::kCorrupt, "token {} has the unknown type {}", i, type);
    vocabulary.types[i] = static_cast<TokenType>(type);
    const std::string& text = vocabulary.texts[i];
    const bool unmarked =
        vocabulary.types[i] == TokenType::kNormal || vocabulary.types[i] == TokenType::kUndefined;
    if ((vocabulary.types[i] == TokenType::kUserDefined && IsControlName(text)) ||
        (unmarked && IsUnmarkedEnd(text))) {
      vocabulary.types[i] = TokenType::kControl;
    }
  }
  return {};
}

Result<void> ReadScores(const Gguf& gguf, Vocabulary& vocabulary) {
  auto scores = gguf.GetFloats("tokenizer.ggml.scores");
  if (!scores) return Bad(scores.error());
  if (scores->size() != vocabulary.size()) {
    return Fail(ErrorCode::kCorrupt, "{} tokens with {} scores", vocabulary.size(), scores->size());
  }
  if (std::ranges::any_of(*scores, [](float score) { return std::isnan(score); })) {
    return Fail(ErrorCode::kCorrupt, "a token's score is not a number");
  }
  vocabulary.scores = std::move(*scores);
  return {};
}

// Of files that do not say.
struct AbsentIds {
  TokenId bos = -1, eos = -1, unknown = -1;
};
AbsentIds AbsentIdsOf(VocabularyKind kind) {
  switch (kind) {
    case VocabularyKind::kByteLevel:
      return {};
    case VocabularyKind::kSentencePiece:
      return {.bos = 1, .eos = 2, .unknown = 0};
    case VocabularyKind::kUnigram:
      return {.bos = -1, .eos = 1, .unknown = 2};
    case VocabularyKind::kWordPiece:
      return {.bos = 101, .eos = -1, .unknown = 100};
  }
  return {};
}

Result<void> ReadSpecialIds(const Gguf& gguf, VocabularyKind kind, Vocabulary& vocabulary) {
  const size_t size = vocabulary.size();
  AbsentIds absent = AbsentIdsOf(kind);
  if (kind == VocabularyKind::kWordPiece)
    absent.bos = TRY(ReadId(gguf, "tokenizer.ggml.cls_token_id", absent.bos, size));
  vocabulary.bos = TRY(ReadId(gguf, "tokenizer.ggml.bos_token_id", absent.bos, size));
  vocabulary.eos = TRY(ReadId(gguf, "tokenizer.ggml.eos_token_id", absent.eos, size));
  vocabulary.unknown = TRY(ReadId(gguf, "tokenizer.ggml.unknown_token_id", absent.unknown, size));
  vocabulary.ends.assign(size, false);
  const TokenId turn = TRY(ReadId(gguf, "tokenizer.ggml.eot_token_id", -1, size));
  const TokenId message = TRY(ReadId(gguf, "tokenizer.ggml.eom_token_id", -1, size));
  for (const TokenId id : {vocabulary.eos, turn, message}) {
    if (id < 0) continue;
    vocabulary.ends[static_cast<size_t>(id)] = true;
    // A template writes it as text: it must be found there.
    TokenType& type = vocabulary.types[static_cast<size_t>(id)];
    if (type == TokenType::kUserDefined ||
        (type == TokenType::kNormal && gguf.Find("tokenizer.ggml.token_type") != nullptr)) {
      type = TokenType::kControl;
    }
  }
  for (const std::string_view name : kEndNames) {
    const TokenId id = vocabulary.Find(name);
    if (id < 0) continue;
    // Answers of several messages: it ends one of them.
    if (name == "<|end|>" && vocabulary.Find("<|return|>") >= 0 &&
        vocabulary.Find("<|start|>") >= 0)
      continue;
    if (vocabulary.type(id) == TokenType::kControl) vocabulary.ends[static_cast<size_t>(id)] = true;
  }
  return {};
}

// BERT's texts end with its separator; GGUF spells its key like this.
Result<TokenId> ReadTextEnd(const Gguf& gguf, VocabularyKind kind, const Vocabulary& vocabulary) {
  if (kind == VocabularyKind::kWordPiece &&
      gguf.GetBool("tokenizer.ggml.add_sep_token").value_or(true)) {
    return ReadId(gguf, "tokenizer.ggml.seperator_token_id", 102, vocabulary.size());
  }
  return gguf.GetBool("tokenizer.ggml.add_eos_token").value_or(false) ? vocabulary.eos : -1;
}

void Index(Vocabulary& vocabulary) {
  vocabulary.ids.reserve(vocabulary.size());
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const std::string& text = vocabulary.texts[i];
    if (text.empty()) continue;
    vocabulary.ids[text] = static_cast<TokenId>(i);
    vocabulary.longest = std::max(vocabulary.longest, text.size());
  }
}

bool NamesPhi3(const Gguf& gguf) {
  std::string name = gguf.GetString("general.name").value_or("");
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
}

}  // namespace

Result<Vocabulary> Vocabulary::Load(const Gguf& gguf, VocabularyKind kind) {
  const bool sentence_piece = kind == VocabularyKind::kSentencePiece;
  Vocabulary vocabulary;
  auto texts = gguf.GetStrings("tokenizer.ggml.tokens");
  if (!texts) return Bad(texts.error());
  if (texts->empty() || texts->size() > (1u << 22)) {
    return Fail(ErrorCode::kCorrupt, "a vocabulary of {} tokens", texts->size());
  }
  vocabulary.texts = std::move(*texts);
  TRY(ReadTypes(gguf, vocabulary));
  const bool scored = sentence_piece || kind == VocabularyKind::kUnigram;
  if (scored) TRY(ReadScores(gguf, vocabulary));
  Index(vocabulary);
  TRY(ReadSpecialIds(gguf, kind, vocabulary));
  const bool adds_bos = sentence_piece || kind == VocabularyKind::kWordPiece;
  vocabulary.add_bos =
      gguf.GetBool("tokenizer.ggml.add_bos_token").value_or(adds_bos) && vocabulary.bos >= 0;
  vocabulary.text_end = TRY(ReadTextEnd(gguf, kind, vocabulary));
  vocabulary.add_space_prefix =
      gguf.GetBool("tokenizer.ggml.add_space_prefix").value_or(sentence_piece);
  vocabulary.specials_eat_space = NamesPhi3(gguf);
  return vocabulary;
}

}  // namespace exo::model
