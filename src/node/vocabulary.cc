#include "node/vocabulary.h"

#include <algorithm>
#include <array>

namespace exo::node {
namespace {

// Both of those who ask: people at the command line, and programs.
constexpr std::string_view kUseRaw =
    "continue a raw prompt instead, with exo run --raw or at /v1/completions";

std::string NoUsableTemplate() {
  return fmt::format(
      "the model has no usable chat template: it leaves out what the messages say; {}", kUseRaw);
}

// A template that fails on a plain question may still render others: the request will tell.
bool IsUseless(const model::ChatTemplate& chat_template) {
  const std::array messages = {model::ChatMessage{.role = "user", .content = "hello"}};
  const auto rendered = chat_template.Render(messages, {.now = 0});
  return rendered && model::LeavesOutMessages(messages, *rendered);
}

// The ids that a file names, or else the tokens of the usual names.
std::optional<Vocabulary::Infill> FindInfill(const model::Gguf& gguf,
                                             const model::Tokenizer& tokenizer) {
  const auto find = [&](std::initializer_list<const char*> keys,
                        std::initializer_list<const char*> texts) -> TokenId {
    for (const char* key : keys) {
      const auto id = gguf.GetUint(key);
      if (id && *id < tokenizer.vocab_size()) return static_cast<TokenId>(*id);
    }
    for (const char* text : texts) {
      const std::vector<TokenId> ids = tokenizer.Encode(text, true);
      if (ids.size() == 1 && tokenizer.IsControl(ids[0])) return ids[0];
    }
    return -1;
  };
  const Vocabulary::Infill infill = {
      .prefix = find({"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"},
                     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>"}),
      .suffix = find({"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"},
                     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>"}),
      .middle = find({"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"},
                     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>"})};
  if (infill.prefix < 0 || infill.suffix < 0 || infill.middle < 0) return std::nullopt;
  return infill;
}

ModelDetails DetailsOf(const model::Gguf& gguf, const Vocabulary& vocabulary) {
  ModelDetails details;
  for (const auto& [key, value] : gguf.metadata()) {
    std::visit(
        [&](const auto& known) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(known)>, model::GgufArray>)
            details.metadata[key] = known;
        },
        value);
  }
  details.metadata.erase("tokenizer.chat_template");
  details.chat_template = gguf.GetString("tokenizer.chat_template").value_or("");
  const model::WeightCount count = model::CountWeights(gguf);
  details.parameters = count.parameters;
  details.weights = count.type;
  const auto reads = [&](std::string_view name) {
    return vocabulary.chat_template != nullptr &&
           details.chat_template.find(name) != std::string::npos;
  };
  details.tools = reads("tools");
  details.thinking = reads("enable_thinking") || reads("reasoning_content") ||
                     reads("reasoning_effort") || reads("<think>");
  details.infill = vocabulary.infill.has_value();
  const model::Tokenizer& tokenizer = *vocabulary.tokenizer;
  if (tokenizer.bos() >= 0) details.bos = tokenizer.Bytes(tokenizer.bos(), true);
  if (tokenizer.eos() >= 0) details.eos = tokenizer.Bytes(tokenizer.eos(), true);
  return details;
}

void AddFormat(std::string_view source, Vocabulary& vocabulary) {
  const model::Tokenizer& tokenizer = *vocabulary.tokenizer;
  model::ChatTemplateOptions options{.now = 0};
  if (tokenizer.bos() >= 0) options.bos_token = tokenizer.Bytes(tokenizer.bos(), true);
  if (tokenizer.eos() >= 0) options.eos_token = tokenizer.Bytes(tokenizer.eos(), true);
  auto format = chat::FindAnswerFormat(*vocabulary.chat_template, source, options);
  const std::vector<std::string> texts = chat::TextsOf(format);
  for (TokenId id = 0; id < static_cast<TokenId>(tokenizer.vocab_size()); ++id) {
    if (!tokenizer.IsControl(id)) continue;
    const std::string text = tokenizer.Bytes(id, true);
    if (text.empty() || std::ranges::none_of(texts, [&](const std::string& one) {
          return one.find(text) != std::string::npos;
        }))
      continue;
    vocabulary.controls.push_back(
        {.text = text, .id = id, .ends = tokenizer.IsEndOfGeneration(id)});
  }
  vocabulary.format = std::make_shared<const chat::AnswerFormat>(std::move(format));
}

void UseTemplate(std::string_view source, Vocabulary& vocabulary) {
  auto parsed = model::ChatTemplate::Parse(source);
  if (!parsed) {
    vocabulary.template_error = fmt::format("the model's chat template cannot be used: {}; {}",
                                            parsed.error().message, kUseRaw);
  } else if (IsUseless(**parsed)) {
    vocabulary.template_error = NoUsableTemplate();
  } else {
    vocabulary.chat_template = *parsed;
    AddFormat(source, vocabulary);
  }
}

void AddTemplate(const model::Gguf& gguf, Vocabulary& vocabulary) {
  if (const auto source = gguf.GetString("tokenizer.chat_template")) {
    UseTemplate(*source, vocabulary);
  } else {
    vocabulary.template_error = fmt::format("the model has no chat template; {}", kUseRaw);
  }
}

}  // namespace

uint64_t VocabularyBytes(const model::Gguf& gguf) {
  // Strings, and nodes of hash tables. Measured: 48 MB for Llama 3 (128,256 tokens, 280,147
  // merges), 41 for Qwen 2 (151,936 and 151,387), 4.4 for Llama 2 (32,000 tokens).
  constexpr uint64_t kToken = 150, kMerge = 120;
  const auto count = [&](std::string_view key) -> uint64_t {
    const model::GgufValue* value = gguf.Find(key);
    const auto* array = value == nullptr ? nullptr : std::get_if<model::GgufArray>(value);
    return array == nullptr ? 0 : array->count;
  };
  return count("tokenizer.ggml.tokens") * kToken + count("tokenizer.ggml.merges") * kMerge;
}

Result<std::optional<Vocabulary>> WithTemplate(const Vocabulary& vocabulary,
                                               const std::string& source) {
  if (source.empty()) return std::nullopt;
  Vocabulary own = vocabulary;
  own.chat_template = nullptr;
  own.format = nullptr;
  own.controls.clear();
  UseTemplate(source, own);
  if (own.chat_template == nullptr) return Fail(ErrorCode::kInvalid, "{}", own.template_error);
  return own;
}

Result<std::shared_ptr<const Vocabulary>> ParseVocabulary(const model::Gguf& gguf) {
  auto vocabulary = std::make_shared<Vocabulary>();
  vocabulary->tokenizer = TRY(model::Tokenizer::Load(gguf));
  for (TokenId id = 0; id < static_cast<TokenId>(vocabulary->tokenizer->vocab_size()); ++id) {
    if (vocabulary->tokenizer->IsEndOfGeneration(id)) vocabulary->stop_tokens.push_back(id);
  }
  AddTemplate(gguf, *vocabulary);
  vocabulary->infill = FindInfill(gguf, *vocabulary->tokenizer);
  vocabulary->details = DetailsOf(gguf, *vocabulary);
  return vocabulary;
}

Result<void> CheckRunnable(const model::Gguf& gguf) {
  if (!model::IsAdapter(gguf)) TRY(ParseVocabulary(gguf));
  return {};
}

Result<std::vector<model::TextPiece>> RenderChat(const Vocabulary& vocabulary,
                                                 std::span<const model::ChatMessage> messages,
                                                 const model::ChatTemplateOptions& options) {
  if (vocabulary.chat_template == nullptr)
    return Fail(ErrorCode::kInvalid, "{}", vocabulary.template_error);
  auto pieces = TRY(vocabulary.chat_template->Render(messages, options));
  if (model::LeavesOutMessages(messages, pieces))
    return Fail(ErrorCode::kInvalid, "{}", NoUsableTemplate());
  return pieces;
}

void Vocabularies::Load(std::shared_ptr<const store::Manifest> manifest,
                        std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) {
  if (auto known = Find(manifest->id())) return done(std::move(known));
  const bool begun = jobs_.Run(
      Jobs::Class::kCpu, {},
      [manifest](const std::atomic<bool>&) { return ParseVocabulary(manifest->gguf()); },
      [this, manifest, done](Result<std::shared_ptr<const Vocabulary>> parsed) {
        if (parsed && known_.try_emplace(manifest->id(), *parsed).second) {
          bytes_ += VocabularyBytes(manifest->gguf());
          grown_();
        }
        done(std::move(parsed));
      });
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too many requests are being prepared"));
}

}  // namespace exo::node
