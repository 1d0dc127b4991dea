#include "node/prompt.h"

#include <algorithm>
#include <array>

#include "sys/system.h"

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

model::ChatTemplateOptions TemplateOptions(const model::Tokenizer& tokenizer, int64_t local_time) {
  model::ChatTemplateOptions options{.now = local_time};
  if (tokenizer.bos() >= 0) options.bos_token = tokenizer.Bytes(tokenizer.bos(), true);
  if (tokenizer.eos() >= 0) options.eos_token = tokenizer.Bytes(tokenizer.eos(), true);
  return options;
}

// Where the answer goes on in the last message, that one follows what the template wrote for the
// others.
Result<std::vector<model::TextPiece>> RenderMessages(const GenerateRequest& request,
                                                     const Vocabulary& vocabulary,
                                                     int64_t local_time) {
  model::ChatTemplateOptions options = TemplateOptions(*vocabulary.tokenizer, local_time);
  options.variables = request.chat.variables;
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

constexpr std::string_view kRankTask =
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    "provided. Note that the answer can only be \"yes\" or \"no\".";
constexpr std::string_view kSearch =
    "Given a web search query, retrieve relevant passages that answer the query";

// Text of a file in which {query} and {document} stand for a pair's, as llama.cpp writes them.
std::vector<model::TextPiece> FillIn(std::string_view form, const RankedPair& pair) {
  std::vector<model::TextPiece> pieces;
  while (!form.empty()) {
    const size_t query = form.find("{query}"), document = form.find("{document}");
    const size_t next = std::min(query, document);
    pieces.push_back({.text = std::string(form.substr(0, next)), .trusted = true});
    if (next == std::string_view::npos) break;
    pieces.push_back({.text = next == query ? pair.query : pair.document, .trusted = false});
    form.remove_prefix(next + (next == query ? 7 : 10));
  }
  return pieces;
}

// A form of the model's own, or the chat that rerankers of Qwen3's kind are trained on.
Result<std::vector<model::TextPiece>> RenderPair(const RankedPair& pair,
                                                 const Vocabulary& vocabulary) {
  const auto form = vocabulary.details.metadata.find("tokenizer.chat_template.rerank");
  if (form != vocabulary.details.metadata.end()) {
    if (const auto* text = std::get_if<std::string>(&form->second)) return FillIn(*text, pair);
  }
  GenerateRequest chat;
  const std::string instruction =
      pair.instruction.empty() ? std::string(kSearch) : pair.instruction;
  chat.messages = {{.role = "system", .content = std::string(kRankTask)},
                   {.role = "user",
                    .content = fmt::format("<Instruct>: {}\n<Query>: {}\n<Document>: {}",
                                           instruction, pair.query, pair.document)}};
  chat.chat.variables.push_back({"enable_thinking", {false}});
  return RenderMessages(chat, vocabulary, 0);
}

// What the template writes behind an answer, as "<|im_end|>" and a line break: the tokens of an
// answer are without it. Empty where the template does not say.
std::vector<TokenId> EndOfAnswer(const Vocabulary& vocabulary) {
  const std::array messages = {model::ChatMessage{.role = "user", .content = "hello"},
                               model::ChatMessage{.role = "assistant", .content = "hello"}};
  model::ChatTemplateOptions options = TemplateOptions(*vocabulary.tokenizer, 0);
  options.add_generation_prompt = false;
  auto pieces = RenderChat(vocabulary, messages, options);
  if (!pieces) return {};
  const auto content = std::find_if(pieces->rbegin(), pieces->rend(),
                                    [](const model::TextPiece& piece) { return !piece.trusted; });
  pieces->erase(pieces->begin(), content.base());
  return vocabulary.tokenizer->EncodePieces(*pieces);
}

// A conversation that has begun: its last answer is ended, and BOS stands there once.
void GoOn(std::vector<TokenId> before, const Vocabulary& vocabulary, std::vector<TokenId>& ids) {
  const std::vector<TokenId> end = EndOfAnswer(vocabulary);
  size_t there = std::min(end.size(), before.size());
  while (!std::equal(before.end() - static_cast<std::ptrdiff_t>(there), before.end(), end.begin()))
    --there;
  before.insert(before.end(), end.begin() + static_cast<std::ptrdiff_t>(there), end.end());
  const bool again = !ids.empty() && ids.front() == vocabulary.tokenizer->bos();
  ids.erase(ids.begin(), ids.begin() + (again ? 1 : 0));
  ids.insert(ids.begin(), before.begin(), before.end());
}

// The text of a readout ends as its model was trained to see texts end.
void AddEnd(const model::Tokenizer& tokenizer, std::vector<TokenId>& ids) {
  const TokenId end = tokenizer.text_end();
  if (end >= 0 && (ids.empty() || ids.back() != end)) ids.push_back(end);
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
  Prompt prompt{.text_at = sys::Now()};
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
    const auto pieces = TRY(request.pair ? RenderPair(*request.pair, vocabulary)
                                         : RenderMessages(request, vocabulary, local_time));
    for (const model::TextPiece& piece : pieces) prompt.text += piece.text;
    prompt.text_at = sys::Now();
    prompt.ids = tokenizer.EncodePieces(pieces);
    if (!request.before.empty()) GoOn(request.before, vocabulary, prompt.ids);
  }
  // Templates may write BOS themselves: it stands there once.
  if (!request.no_bos && tokenizer.add_bos() && tokenizer.bos() >= 0 &&
      (prompt.ids.empty() || prompt.ids.front() != tokenizer.bos())) {
    prompt.ids.insert(prompt.ids.begin(), tokenizer.bos());
  }
  if (request.readout && request.prompt) AddEnd(tokenizer, prompt.ids);
  return prompt;
}

Result<wire::Readout> KindOfReadout(const ReadoutRequest& readout, const Vocabulary& vocabulary) {
  if (readout.kind) return *readout.kind;
  const auto& metadata = vocabulary.details.metadata;
  for (const auto& [key, value] : metadata) {
    const auto* kind = std::get_if<uint64_t>(&value);
    if (kind == nullptr || !key.ends_with(".pooling_type")) continue;
    constexpr uint64_t kMean = 1, kFirst = 2;  // llama.cpp's numbers
    if (*kind == kFirst)
      return Fail(ErrorCode::kUnsupported,
                  "the model's embeddings are its first position's, which in a model that reads "
                  "forward knows nothing of the text; that kind is not supported");
    return *kind == kMean ? wire::Readout::kMean : wire::Readout::kLast;
  }
  return wire::Readout::kLast;
}

Result<std::vector<TokenId>> TokensToRead(const ReadoutRequest& readout,
                                          const Vocabulary& vocabulary) {
  std::vector<TokenId> tokens;
  for (const std::string& text : readout.texts) {
    const std::vector<TokenId> ids = vocabulary.tokenizer->Encode(text, false);
    if (ids.size() != 1)
      return Fail(ErrorCode::kInvalid,
                  "the model has no single token for '{}': its answers cannot be scored with it",
                  text);
    tokens.push_back(ids[0]);
  }
  return tokens;
}

}  // namespace exo::node
