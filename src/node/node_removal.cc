// Models that are removed: what exo has downloaded of them is deleted, here or on every device; a
// person's own file stays.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "node/model_names.h"
#include "node/node_impl.h"

namespace exo::node {
namespace {

// For devices that delete large files on slow disks, or are too old to know the question.
constexpr Time kRemovalLimit = std::chrono::seconds(30);

}  // namespace

void NodeImpl::RemoveModel(std::string model, bool everywhere,
                           std::function<void(Result<std::vector<RemovalView>>)> done) {
  if (everywhere) return RemoveEverywhere(model, std::move(done));
  const auto said = [this, done](Result<Removed> removed) {
    if (!removed) return done(std::unexpected(removed.error()));
    done({{{.device = record_.name,
            .ok = true,
            .freed_bytes = removed->bytes(),
            .said = DescribeRemoved(*removed)}}});
  };
  if (presets_.Find(model) != nullptr) {
    return RemovePreset(model, [this, done](const Result<void>& removed) {
      if (!removed) return done(std::unexpected(removed.error()));
      done({{{.device = record_.name,
              .ok = true,
              .said = "the model that it was made from stays"}}});
    });
  }
  model = NameHere(model);
  const auto file = models_->Find(model);
  if (pulls_->WasPulled(model)) return RemovePulled(model, file, said);
  for (const store::PulledModel& pulled : PulledModels()) {
    const ModelId id = pulled.manifest->id();
    if (file == nullptr && IsNameOf(model, id, pulled.name, record_.name))
      return UnloadFirst(id, [this, id, said] { RemoveDownloads(id, said); });
  }
  models_->Remove(std::move(model), [this, file, said](const Result<void>& removed) {
    if (!removed) return said(std::unexpected(removed.error()));
    UnloadRemoved(file);
    said(Removed{.own_file = file == nullptr ? "" : file->path()});
  });
}

void NodeImpl::RemovePulled(const std::string& name,
                            const std::shared_ptr<const store::ModelFile>& file,
                            std::function<void(Result<Removed>)> done) {
  pulls_->Remove(name, [this, file, done](const Result<fetch::Forgotten>& forgotten) {
    if (!forgotten) return done(std::unexpected(forgotten.error()));
    // The folder is looked through, so that the name is gone when `done` says so.
    models_->Rescan([this, file, done, forgotten = *forgotten] {
      UnloadRemoved(file);
      done(Removed{.files = forgotten});
    });
  });
}

void NodeImpl::UnloadFirst(const ModelId& model, std::function<void()> then) {
  const uint64_t ticket = next_ticket_++;
  unloads_[ticket] = [then](const Result<void>&) { then(); };  // it need not have been running
  Feed(cluster::UnloadModel{.ticket = ticket, .model = model});
}

void NodeImpl::RemoveDownloads(const ModelId& model, std::function<void(Result<Removed>)> done) {
  std::vector<std::string> names;
  for (const std::string& name : pulls_->Names()) {
    const auto file = models_->Find(name);
    if (file != nullptr && file->manifest().id() == model) names.push_back(name);
  }
  RemoveNextDownload(model, std::move(names), {}, std::move(done));
}

void NodeImpl::RemoveNextDownload(const ModelId& model, std::vector<std::string> names,
                                  Removed removed, std::function<void(Result<Removed>)> done) {
  if (names.empty()) return RemoveTensors(model, std::move(removed), std::move(done));
  const std::string name = names.back();
  names.pop_back();
  pulls_->Remove(name, [this, model, names = std::move(names), removed = std::move(removed),
                        done](const Result<fetch::Forgotten>& forgotten) mutable {
    if (!forgotten) return done(std::unexpected(forgotten.error()));
    removed.files.bytes += forgotten->bytes;
    const auto append = [](std::vector<std::string>& to, const std::vector<std::string>& more) {
      to.insert(to.end(), more.begin(), more.end());
    };
    append(removed.files.brought_by_others, forgotten->brought_by_others);
    append(removed.files.in_use, forgotten->in_use);
    RemoveNextDownload(model, std::move(names), std::move(removed), done);
  });
}

void NodeImpl::RemoveTensors(const ModelId& model, Removed removed,
                             std::function<void(Result<Removed>)> done) {
  const auto looked = [this, model, done, removed](uint64_t bytes) mutable {
    removed.tensor_bytes = bytes;
    models_->Rescan([this, model, done, removed]() mutable {
      if (const auto file = models_->Find(model)) removed.own_file = file->path();
      OnModelsChanged();
      done(std::move(removed));
    });
  };
  const bool begun = jobs_.Run(
      Jobs::Class::kIo, {},
      [cache = tensors_, model](const std::atomic<bool>&) { return cache->Remove(model); }, looked);
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too much is going on with files"));
}

// First it ends everywhere: what a device computes with is not deleted.
void NodeImpl::RemoveEverywhere(const std::string& model,
                                std::function<void(Result<std::vector<RemovalView>>)> done) {
  if (auto member = CheckIsMember(); !member) return done(std::unexpected(member.error()));
  if (presets_.Find(model) != nullptr) {
    return done(Fail(ErrorCode::kInvalid,
                     "'{}' was made from another model and is no file: remove it here, or name the "
                     "model that it was made from",
                     model));
  }
  FindModel(model, [this, done](const Result<ModelId>& id) {
    if (!id) return done(std::unexpected(id.error()));
    UnloadFirst(*id, [this, id = *id, done] { AskToRemove(id, done); });
  });
}

void NodeImpl::AskToRemove(const ModelId& model,
                           std::function<void(Result<std::vector<RemovalView>>)> done) {
  const uint64_t ticket = next_ticket_++;
  auto& round = removals_[ticket];
  round = std::make_unique<RemovalRound>(loop_, kRemovalLimit,
                                         [this, ticket, done](std::vector<RemovalView> views) {
                                           const auto over = removals_.extract(ticket);
                                           done(std::move(views));
                                         });
  const std::vector<NodeId> up = peers_->Up();
  std::vector<NodeId> asked;
  round->Expect(identity_->id(), record_.name);
  for (const wire::TrustEntry& entry : trust_->trust().entries()) {
    if (entry.id == identity_->id() || entry.role == wire::TrustRole::kForgotten) continue;
    if (std::ranges::find(up, entry.id) == up.end()) {
      round->Missing(entry.name, "is away: what it has stays until it is asked again");
      continue;
    }
    round->Expect(entry.id, NameOf(entry.id));
    asked.push_back(entry.id);
  }
  round->Begin();
  for (const NodeId& peer : asked) peers_->Send(peer, wire::DeleteModel{ticket, model});
  RemoveDownloads(model, [this, ticket](const Result<Removed>& removed) {
    OnModelDeleted(identity_->id(), ReplyOf(ticket, removed));
  });
}

wire::ModelDeleted NodeImpl::ReplyOf(uint64_t ticket, const Result<Removed>& removed) {
  if (!removed) return {.ticket = ticket, .ok = false, .said = removed.error().message};
  return {.ticket = ticket,
          .ok = true,
          .freed_bytes = removed->bytes(),
          .said = DescribeRemoved(*removed)};
}

void NodeImpl::OnDeleteModel(const NodeId& peer, const wire::DeleteModel& asked) {
  LOG(kInfo, "peer={}: asks to delete what was downloaded of the model {}", peer.Short(),
      asked.model.Short());
  RemoveDownloads(asked.model, [this, peer, ticket = asked.ticket](const Result<Removed>& removed) {
    peers_->Send(peer, ReplyOf(ticket, removed));
  });
}

void NodeImpl::OnModelDeleted(const NodeId& peer, const wire::ModelDeleted& deleted) {
  const auto round = removals_.find(deleted.ticket);
  if (round != removals_.end())
    round->second->Answer(peer, deleted.ok, deleted.freed_bytes, deleted.said);
}

}  // namespace exo::node
