#include "node/prompt.h"

namespace exo::node {
namespace {

Result<void> CheckIds(const std::vector<TokenId>& ids, size_t vocabulary) {
  for (const TokenId id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= vocabulary) {
      return Fail(ErrorCode::kInvalid, "token {} of the prompt is outside the vocabulary of {}", id,
                  vocabulary);
    }
  }
  return {};
}

// Where the answer goes on in the last message, that one follows what the template wrote for the
// others.
Result<std::vector<model::TextPiece>> RenderMessages(const GenerateRequest& request,
                                                     const Vocabulary& vocabulary,
                                                     int64_t local_time) {
  const model::Tokenizer& tokenizer = *vocabulary.tokenizer;
  model::ChatTemplateOptions options{.variables = request.chat.variables, .now = local_time};
  if (tokenizer.bos() >= 0) options.bos_token = tokenizer.Bytes(tokenizer.bos(), true);
  if (tokenizer.eos() >= 0) options.eos_token = tokenizer.Bytes(tokenizer.eos(), true);
  if (request.chat.tool_use != ToolUse::kNone) options.tools = request.chat.tools;
  options.arguments_as_text = vocabulary.format != nullptr && vocabulary.format->arguments_as_text;
  std::span<const model::ChatMessage> messages = request.messages;
  if (!request.chat.continue_last) return RenderChat(vocabulary, messages, options);
  if (messages.size() < 2 || messages.back().role != "assistant")
    return Fail(ErrorCode::kInvalid, "there is no message of the assistant to go on with");
  const model::ChatMessage& begun = messages.back();
  auto pieces = TRY(RenderChat(vocabulary, messages.first(messages.size() - 1), options));
  pieces.push_back({.text = begun.content.value_or(""), .trusted = false});
  for (const model::ContentPart& part : begun.parts)
    pieces.push_back({.text = part.text, .trusted = false});
  return pieces;
}

Result<std::vector<TokenId>> MakeInfill(const GenerateRequest& request,
                                        const Vocabulary& vocabulary) {
  if (!vocabulary.infill) {
    return Fail(ErrorCode::kUnsupported,
                "the model cannot fill in the middle: its vocabulary has no tokens for it; leave "
                "out the suffix");
  }
  const model::Tokenizer& tokenizer = *vocabulary.tokenizer;
  std::vector<TokenId> ids = {vocabulary.infill->prefix};
  const auto add = [&](const std::string& text, TokenId end) {
    const std::vector<TokenId> more = tokenizer.Encode(text, false);
    ids.insert(ids.end(), more.begin(), more.end());
    ids.push_back(end);
  };
  add(*request.prompt, vocabulary.infill->suffix);
  add(*request.suffix, vocabulary.infill->middle);
  return ids;
}

}  // namespace

Result<Prompt> MakePrompt(const GenerateRequest& request, const Vocabulary& vocabulary,
                          int64_t local_time) {
  const model::Tokenizer& tokenizer = *vocabulary.tokenizer;
  Prompt prompt;
  if (request.prompt_ids) {
    TRY(CheckIds(*request.prompt_ids, tokenizer.vocab_size()));
    prompt.ids = *request.prompt_ids;
    return prompt;
  }
  if (request.prompt && request.suffix) {
    prompt.text = *request.prompt;
    prompt.ids = TRY(MakeInfill(request, vocabulary));
  } else if (request.prompt) {
    prompt.text = *request.prompt;
    prompt.ids = tokenizer.Encode(prompt.text, request.special);
  } else {
    const auto pieces = TRY(RenderMessages(request, vocabulary, local_time));
    for (const model::TextPiece& piece : pieces) prompt.text += piece.text;
    prompt.ids = tokenizer.EncodePieces(pieces);
  }
  // Templates may write BOS themselves: it stands there once.
  if (!request.no_bos && tokenizer.add_bos() && tokenizer.bos() >= 0 &&
      (prompt.ids.empty() || prompt.ids.front() != tokenizer.bos())) {
    prompt.ids.insert(prompt.ids.begin(), tokenizer.bos());
  }
  return prompt;
}

}  // namespace exo::node
