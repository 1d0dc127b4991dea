// Models by name, their vocabulary, and their placement on demand.
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "node/model_names.h"
#include "node/model_source.h"
#include "node/node_impl.h"

namespace exo::node {

std::vector<NodeId> NodeImpl::HoldersOf(const ModelId& model) const {
  std::vector<NodeId> holders;
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.self || status.state != cluster::PeerState::kAlive) continue;
    for (const wire::ModelHolding& holding : status.record.models) {
      if (holding.id == model && holding.complete) holders.push_back(status.record.id);
    }
  }
  return holders;
}

std::vector<store::PulledModel> NodeImpl::PulledModels() const {
  std::vector<store::PulledModel> models = tensors_->Models();
  std::erase_if(models, [this](const store::PulledModel& model) {
    return models_->Find(model.manifest->id()) != nullptr;
  });
  return models;
}

// Of a file, or of what was pulled. Null: not here.
std::shared_ptr<const store::Manifest> NodeImpl::ManifestOf(const ModelId& model) const {
  if (const auto file = models_->Find(model)) return file->shared_manifest();
  return tensors_->FindModel(model);
}

std::vector<NodeImpl::Held> NodeImpl::HoldingsOf(const std::vector<cluster::NodeStatus>& nodes) {
  std::vector<Held> all;
  std::map<std::string, std::set<ModelId>> files;
  for (const cluster::NodeStatus& status : nodes) {
    if (!status.self && status.state != cluster::PeerState::kAlive) continue;
    for (const wire::ModelHolding& holding : status.record.models) {
      all.push_back({holding, status.record.name, status.self});
      if (!holding.pulled) files[holding.name].insert(holding.id);
    }
  }
  for (Held& held : all) {
    const auto named = files.find(held.holding.name);
    held.replaced = named != files.end() && !named->second.contains(held.holding.id);
  }
  return all;
}

std::vector<std::string> NodeImpl::KnownNames() const {
  std::set<std::string> names;
  for (const ModelView& model : Models()) names.insert(model.name);
  return {names.begin(), names.end()};
}

std::map<ModelId, std::string> NodeImpl::MatchesOf(const std::string& name) const {
  std::map<ModelId, std::string> matches;
  const std::vector<cluster::NodeStatus> nodes = core_->Nodes();
  for (const Held& held : HoldingsOf(nodes)) {
    const ModelId& id = held.holding.id;
    const bool meant =
        held.replaced ? name == id.Hex() : IsNameOf(name, id, held.holding.name, held.device);
    if (meant) matches.emplace(id, held.device);
  }
  if (const auto file = models_->Find(name)) matches.emplace(file->manifest().id(), record_.name);
  if (!matches.empty()) return matches;
  // What runs is known by its name although the device with the file has left. A file of that name
  // goes first: it may have been replaced since.
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const wire::Plan& plan = instance.summary.plan;
    const std::string lead = NameOf(plan.stages[0].node);
    if (IsNameOf(name, plan.model, plan.model_name, lead)) matches.try_emplace(plan.model, lead);
  }
  return matches;
}

bool NodeImpl::IsPlaced(const ModelId& model) const {
  return std::ranges::any_of(core_->Instances(), [&](const cluster::InstanceStatus& instance) {
    return instance.summary.plan.model == model &&
           instance.summary.state <= wire::InstanceState::kReady;
  });
}

// A known name is answered at once, whatever else is still being read. Only a model that is about
// to be loaded from a file of this node has that file looked at once more: it may have changed
// since the last scan, and would fail to load.
void NodeImpl::FindModel(const std::string& name, std::function<void(Result<ModelId>)> done) {
  if (const auto matches = MatchesOf(name); matches.size() == 1) {
    const ModelId& id = matches.begin()->first;
    if (IsPlaced(id) || models_->Find(id) == nullptr) return AnswerFind(name, {}, done);
    return models_->Refresh(id, [this, name, done = std::move(done)](const Result<void>& looked) {
      AnswerFind(name, looked ? Error{} : looked.error(), done);
    });
  }
  models_->Await(name, [this, name, done = std::move(done)](
                           Result<std::shared_ptr<const store::ModelFile>> file) {
    AnswerFind(name, file ? Error{} : file.error(), done);
  });
}

// One name must mean one file everywhere, or two devices would answer differently.
void NodeImpl::AnswerFind(const std::string& name, const Error& local,
                          const std::function<void(Result<ModelId>)>& done) const {
  const auto matches = MatchesOf(name);
  if (matches.size() == 1) return done(matches.begin()->first);
  if (matches.empty()) {
    if (!local.message.empty() && local.code != ErrorCode::kNotFound)
      return done(Fail(local.code, "the model '{}' cannot be used: {}", name, local.message));
    const std::vector<std::string> known = KnownNames();
    return done(Fail(ErrorCode::kNotFound, "there is no model '{}'; {}", name,
                     known.empty() ? "none is known: put a GGUF file into a model folder"
                                   : fmt::format("known models: {}", fmt::join(known, ", "))));
  }
  std::string where;
  for (const ModelView& model : Models()) {
    if (matches.contains(model.id))
      where += fmt::format("{}{}", where.empty() ? "" : ", ", model.name);
  }
  done(Fail(ErrorCode::kInvalid, "the name '{}' stands for different files: say which one: {}",
            name, where));
}

void NodeImpl::GetVocabulary(const ModelId& model,
                             std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) {
  if (auto manifest = ManifestOf(model))
    return vocabularies_->Load(std::move(manifest), std::move(done));
  if (auto known = vocabularies_->Find(model)) return done(std::move(known));
  std::vector<net::ConnectOptions> holders;
  for (const NodeId& holder : HoldersOf(model))
    holders.push_back(TargetOf(holder, wire::Channel::kBulk, PlanId{}));
  PullVocabulary(model, std::move(holders), std::move(done));
}

void NodeImpl::PullVocabulary(const ModelId& model, std::vector<net::ConnectOptions> holders,
                              std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) {
  const bool begun = jobs_.Run(
      Jobs::Class::kNet, model.Hex(),
      [model, holders = std::move(holders), identity = identity_](const std::atomic<bool>& cancel) {
        Result<std::shared_ptr<const store::Manifest>> manifest =
            Fail(ErrorCode::kDisconnected, "no member that holds the model can be reached");
        for (const net::ConnectOptions& holder : holders) {
          if (cancel.load()) break;
          manifest = PullManifest(*identity, holder, model, cancel);
          if (manifest) break;
        }
        return manifest;
      },
      [this, done](Result<std::shared_ptr<const store::Manifest>> manifest) {
        if (!manifest) return done(std::unexpected(manifest.error()));
        vocabularies_->Load(*manifest, done);
      });
  if (!begun) done(Fail(ErrorCode::kOverloaded, "too many models are being asked for"));
}

uint32_t NodeImpl::ContextOf(const ModelId& model) const {
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const wire::InstanceSummary& summary = instance.summary;
    if (summary.plan.model == model && summary.state <= wire::InstanceState::kReady)
      return summary.plan.context;
  }
  uint32_t trained = options_.default_context;
  if (const auto file = models_->Find(model)) {
    trained = file->manifest().config()->context;
  } else if (const auto holding = HoldingOf(model); holding && holding->trained_context > 0) {
    trained = holding->trained_context;
  }
  return std::min(trained, options_.default_context);
}

std::optional<wire::ModelHolding> NodeImpl::HoldingOf(const ModelId& model) const {
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    for (const wire::ModelHolding& holding : status.record.models) {
      if (holding.id == model) return holding;
    }
  }
  return std::nullopt;
}

void NodeImpl::Ensure(const ModelId& model, bool spread,
                      std::function<void(Result<wire::Plan>)> done) {
  const uint64_t ticket = next_ticket_++;
  ensures_[ticket] = [done](Result<wire::InstanceSummary> summary) {
    if (!summary) return done(std::unexpected(summary.error()));
    done(summary->plan);
  };
  Feed(cluster::EnsureModel{
      .ticket = ticket, .model = model, .spread = spread, .context = ContextOf(model)});
}

}  // namespace exo::node
