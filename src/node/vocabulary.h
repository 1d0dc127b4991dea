// What text in and out of a model needs, parsed once per model and kept.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "chat/answer_format.h"
#include "chat/call_grammar.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"
#include "node/api.h"
#include "node/jobs.h"
#include "store/manifest.h"

namespace exo::node {

// Immutable.
struct Vocabulary {
  std::shared_ptr<const model::Tokenizer> tokenizer;
  std::shared_ptr<const model::ChatTemplate>
      chat_template;                                 // null: the model has none that we can run
  std::string template_error;                        // why it is null
  std::shared_ptr<const chat::AnswerFormat> format;  // null as the template is
  std::vector<chat::ControlToken> controls;          // that the format's texts hold
  std::vector<TokenId> stop_tokens;                  // ids that end a generation
  // Of filling in the middle: before the prompt, before the suffix, before the answer.
  struct Infill {
    TokenId prefix, suffix, middle;
  };
  std::optional<Infill> infill;
  ModelDetails details;  // without the context, which depends on where it runs
};

// Memory that parsing a vocabulary takes; the process keeps most of it.
uint64_t VocabularyBytes(const model::Gguf& gguf);

// Errors: those of the tokenizer; a template that cannot be used is not one (template_error).
Result<std::shared_ptr<const Vocabulary>> ParseVocabulary(const model::Gguf& gguf);
// What a model (not an adapter) needs beside layers, before hours go into hashing or downloading
// it. Errors: those of ParseVocabulary.
Result<void> CheckRunnable(const model::Gguf& gguf);

// The same with another chat template. Nothing: `source` is empty, the model's own is meant.
// Cost: milliseconds. Errors: kInvalid, saying what is wrong with it.
Result<std::optional<Vocabulary>> WithTemplate(const Vocabulary& vocabulary,
                                               const std::string& source);

// The prompt of a chat, trusted and untrusted pieces. Errors: those of ChatTemplate::Render;
// kInvalid when the model has no template, or one that would drop what the messages say.
Result<std::vector<model::TextPiece>> RenderChat(const Vocabulary& vocabulary,
                                                 std::span<const model::ChatMessage> messages,
                                                 const model::ChatTemplateOptions& options);

// Thread: the loop thread.
class Vocabularies {
 public:
  // `grown`: runs after bytes() has changed.
  Vocabularies(Jobs& jobs, std::function<void()> grown) : jobs_(jobs), grown_(std::move(grown)) {}

  // Null unless Load has been here for this model.
  std::shared_ptr<const Vocabulary> Find(const ModelId& model) const {
    const auto found = known_.find(model);
    return found == known_.end() ? nullptr : found->second;
  }
  // The vocabulary of a manifest. Errors: those of ParseVocabulary; kOverloaded.
  void Load(std::shared_ptr<const store::Manifest> manifest,
            std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done);
  // Of all that are kept, as VocabularyBytes counts.
  uint64_t bytes() const { return bytes_; }

 private:
  Jobs& jobs_;
  const std::function<void()> grown_;
  uint64_t bytes_ = 0;
  std::map<ModelId, std::shared_ptr<const Vocabulary>> known_;
};

}  // namespace exo::node
