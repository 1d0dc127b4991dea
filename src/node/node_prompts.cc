// What the HTTP service asks about a model's tokens and file, without running it.
#include "node/node_impl.h"
#include "node/prompt.h"

namespace exo::node {

template <class Work, class Done>
void NodeImpl::WithVocabulary(const std::string& model, Work work, Done done) {
  using Outcome = std::invoke_result_t<Work, const Vocabulary&>;
  FindModel(model, [this, work = std::move(work), done](Result<ModelId> id) {
    if (!id) return done(Outcome(std::unexpected(id.error())), ModelId{});
    GetVocabulary(*id, [this, work, done,
                        id = *id](Result<std::shared_ptr<const Vocabulary>> vocabulary) {
      if (!vocabulary) return done(Outcome(std::unexpected(vocabulary.error())), id);
      const bool begun = jobs_.Run(
          Jobs::Class::kCpu, {},
          [work, vocabulary = *vocabulary](const std::atomic<bool>&) { return work(*vocabulary); },
          [done, id](Outcome outcome) { done(std::move(outcome), id); });
      if (!begun)
        done(Outcome(Fail(ErrorCode::kOverloaded, "too many requests are being prepared")), id);
    });
  });
}

void NodeImpl::Tokenize(GenerateRequest request,
                        std::function<void(Result<TokenizedPrompt>)> done) {
  const std::string model = request.model;
  WithVocabulary(
      model,
      [request = std::make_shared<const GenerateRequest>(std::move(request)),
       local_time = LocalTime()](const Vocabulary& vocabulary) -> Result<Prompt> {
        const auto own = TRY(WithTemplate(vocabulary, request->chat.chat_template));
        return MakePrompt(*request, own ? *own : vocabulary, local_time);
      },
      [this, done](Result<Prompt> prompt, const ModelId& id) {
        if (!prompt) return done(std::unexpected(prompt.error()));
        done(TokenizedPrompt{.text = std::move(prompt->text),
                             .ids = std::move(prompt->ids),
                             .context = ContextOf(id)});
      });
}

void NodeImpl::Detokenize(std::string model, std::vector<TokenId> ids,
                          std::function<void(Result<std::string>)> done) {
  WithVocabulary(
      model,
      [ids = std::move(ids)](const Vocabulary& vocabulary) -> Result<std::string> {
        const size_t size = vocabulary.tokenizer->vocab_size();
        for (const TokenId id : ids) {
          if (id >= 0 && static_cast<size_t>(id) < size) continue;
          return Fail(ErrorCode::kInvalid, "token {} is outside the vocabulary of {}", id, size);
        }
        return vocabulary.tokenizer->Decode(ids, true);
      },
      [done](Result<std::string> text, const ModelId&) { done(std::move(text)); });
}

void NodeImpl::DescribeModel(
    std::string model, std::function<void(Result<std::shared_ptr<const ModelDetails>>)> done) {
  WithVocabulary(
      model,
      [](const Vocabulary& vocabulary) -> Result<std::shared_ptr<ModelDetails>> {
        return std::make_shared<ModelDetails>(vocabulary.details);
      },
      [this, done](Result<std::shared_ptr<ModelDetails>> details, const ModelId& id) {
        if (!details) return done(std::unexpected(details.error()));
        (*details)->context = ContextOf(id);
        done(std::shared_ptr<const ModelDetails>(*std::move(details)));
      });
}

}  // namespace exo::node
