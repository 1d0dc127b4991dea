#include "node/vocabulary.h"

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

}  // namespace

Result<std::shared_ptr<const Vocabulary>> ParseVocabulary(const model::Gguf& gguf) {
  auto vocabulary = std::make_shared<Vocabulary>();
  vocabulary->tokenizer = TRY(model::Tokenizer::Load(gguf));
  for (TokenId id = 0; id < static_cast<TokenId>(vocabulary->tokenizer->vocab_size()); ++id) {
    if (vocabulary->tokenizer->IsEndOfGeneration(id)) vocabulary->stop_tokens.push_back(id);
  }
  const auto source = gguf.GetString("tokenizer.chat_template");
  if (!source) {
    vocabulary->template_error = fmt::format("the model has no chat template; {}", kUseRaw);
    return vocabulary;
  }
  auto parsed = model::ChatTemplate::Parse(*source);
  if (!parsed) {
    vocabulary->template_error = fmt::format("the model's chat template cannot be used: {}; {}",
                                             parsed.error().message, kUseRaw);
  } else if (IsUseless(**parsed)) {
    vocabulary->template_error = NoUsableTemplate();
  } else {
    vocabulary->chat_template = *parsed;
  }
  return vocabulary;
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
        if (parsed) known_[manifest->id()] = *parsed;
        done(std::move(parsed));
      });
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too many requests are being prepared"));
}

}  // namespace exo::node
