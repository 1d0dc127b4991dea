// Draft models: small ones that guess what a large one will say (engine/draft_model.h).
#include "base/text.h"
#include "cluster/planner.h"
#include "node/node_impl.h"
#include "node/shape.h"
#include "wire/plan.h"

namespace exo::node {
namespace {

// A draft is fed the large model's tokens as they are.
Result<void> CheckSameTokens(const model::Tokenizer& draft, const model::Tokenizer& model) {
  if (draft.vocab_size() != model.vocab_size()) {
    return Fail(ErrorCode::kInvalid, "it has a vocabulary of {} tokens, the model one of {}",
                draft.vocab_size(), model.vocab_size());
  }
  for (size_t i = 0; i < model.vocab_size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (draft.Bytes(id, true) == model.Bytes(id, true)) continue;
    return Fail(ErrorCode::kInvalid, "its token {} is '{}', the model's is '{}'", id,
                Printable(draft.Bytes(id, true)), Printable(model.Bytes(id, true)));
  }
  return {};
}

// Weights, working memory and a KV cache of one whole context.
uint64_t BytesOf(const store::ModelFile& file, uint32_t context, const backend::Backend& backend) {
  const cluster::ModelShape shape = ShapeOf(file.manifest(), file.name(), backend);
  const uint32_t positions = context > 0 ? context : cluster::kDefaultContext;
  const auto kv =
      cluster::ReservedKv(shape, wire::PagesOf(positions), positions, cluster::PlanOptions{}.chunk);
  return cluster::StageMemory(shape, {0, shape.layers(), true}, kv, 0);
}

}  // namespace

void NodeImpl::FindDraft(const std::string& name, const ModelId& model, uint32_t context,
                         std::function<void(Result<wire::DraftRef>)> done) {
  const auto opened = [this, name, model, context,
                       done](Result<std::shared_ptr<const store::ModelFile>> opened_file) {
    if (!opened_file) return done(Wrap(opened_file.error(), fmt::format("the draft {}", name)));
    const auto file = *opened_file;
    if (auto is_model = file->manifest().CheckIsModel(); !is_model)
      return done(Wrap(is_model.error(), fmt::format("the draft {}", name)));
    if (file->manifest().id() == model)
      return done(Fail(ErrorCode::kInvalid, "the draft {} is the model itself", name));
    const auto checked = [this, name, model, context, file,
                          done](Result<std::shared_ptr<const Vocabulary>> own) {
      if (!own) return done(Wrap(own.error(), fmt::format("the draft {}", name)));
      GetVocabulary(model, [this, name, context, file, own = *own,
                            done](Result<std::shared_ptr<const Vocabulary>> other) {
        if (!other) return done(std::unexpected(other.error()));
        if (auto same = CheckSameTokens(*own->tokenizer, *(*other)->tokenizer); !same)
          return done(Wrap(same.error(), fmt::format("the draft {}", name)));
        std::string shown = ToUtf8(file->name());
        if (shown.size() > wire::kMaxName) shown = file->manifest().id().Short();
        done(wire::DraftRef{.file = file->manifest().id(),
                            .name = std::move(shown),
                            .bytes = BytesOf(*file, context, *backend_)});
      });
    };
    vocabularies_->Load(std::shared_ptr<const store::Manifest>(file, &file->manifest()), checked);
  };
  if (name.find('/') != std::string::npos) return models_->Open(name, opened);
  models_->Await(name, opened);
}

}  // namespace exo::node
