// Models by name, their vocabulary, and their placement on demand.
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/text.h"
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

// Who may have pulled a part of it.
std::vector<NodeId> NodeImpl::MembersWithout(const ModelId& model) const {
  const std::vector<NodeId> holders = HoldersOf(model);
  std::vector<NodeId> others;
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    if (status.self || status.state != cluster::PeerState::kAlive) continue;
    if (std::ranges::find(holders, status.record.id) == holders.end())
      others.push_back(status.record.id);
  }
  return others;
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
      if (holding.adapter) continue;
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
  if (const auto file = models_->Find(name); file != nullptr && file->manifest().CheckIsModel())
    matches.emplace(file->manifest().id(), record_.name);
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
  if (const auto preset = presets_.Find(name)) {
    return FindModel(preset->base, [name, preset, done](Result<ModelId> base) {
      if (base) return done(*base);
      done(Wrap(base.error(), fmt::format("'{}' is made from '{}'", name, preset->base)));
    });
  }
  // To whoever asks for it by name, a file that was added without complaint is damaged.
  const auto damaged = [](Error error) {
    if (error.code == ErrorCode::kInvalid) error.code = ErrorCode::kCorrupt;
    return error;
  };
  const auto matches = MatchesOf(name);
  if (matches.size() == 1) {
    const ModelId& id = matches.begin()->first;
    if (IsPlaced(id) || models_->Find(id) == nullptr) return AnswerFind(name, {}, done);
    return models_->Refresh(id, [this, name, damaged, done](const Result<void>& looked) {
      AnswerFind(name, looked ? Error{} : damaged(looked.error()), done);
    });
  }
  if (const std::string here = NameHere(name); matches.empty() && here != name)
    return FindModel(here, std::move(done));
  models_->Await(name,
                 [this, name, damaged, done](Result<std::shared_ptr<const store::ModelFile>> file) {
                   if (!file) return AnswerFind(name, damaged(file.error()), done);
                   const auto is_model = (*file)->manifest().CheckIsModel();
                   AnswerFind(name, is_model ? Error{} : is_model.error(), done);
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
    const std::string near = Nearest(name, known);
    return done(Fail(
        ErrorCode::kNotFound, "there is no model '{}'; {}{}", name,
        near.empty() ? "" : fmt::format("did you mean {}? ", near),
        known.empty()
            ? "none is known: bring one here with `exo pull`, or put a GGUF file into "
              "a model folder"
            : fmt::format("known models: {}; `exo pull` brings others", fmt::join(known, ", "))));
  }
  std::string where;
  for (const ModelView& model : Models()) {
    if (matches.contains(model.id) && model.base.empty())
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

std::vector<wire::Plan> NodeImpl::RunningPlans(const ModelId& model) const {
  std::vector<wire::Plan> plans;
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const wire::InstanceSummary& summary = instance.summary;
    if (summary.plan.model == model && summary.state <= wire::InstanceState::kReady)
      plans.push_back(summary.plan);
  }
  return plans;
}

std::optional<wire::Plan> NodeImpl::RunningPlan(const ModelId& model) const {
  const std::vector<wire::Plan> plans = RunningPlans(model);
  if (plans.empty()) return std::nullopt;
  return plans[0];
}

uint32_t NodeImpl::TrainedContext(const ModelId& model) const {
  if (const auto file = models_->Find(model)) return file->manifest().config()->context;
  const auto holding = HoldingOf(model);
  return holding ? holding->trained_context : 0;
}

// Positions beyond it mean nothing to the model: refused when asked for, and what the settings say
// of all models is cut to it.
Result<void> NodeImpl::CheckContext(const ModelId& model, const Placing& placing) const {
  const uint32_t trained = TrainedContext(model);
  if (trained == 0 || placing.context.value_or(0) <= trained) return {};
  return Fail(ErrorCode::kInvalid,
              "a context of {} is longer than the {} positions that the model was trained for",
              *placing.context, trained);
}

// Before there is a plan: no prompt can be longer than this.
uint32_t NodeImpl::ContextOf(const ModelId& model) const {
  if (const auto plan = RunningPlan(model)) return plan->context;
  const uint32_t context = ShapeFor(model, {}).context;
  const uint32_t trained = TrainedContext(model);
  if (context > 0) return context;
  return trained > 0 ? trained : wire::kMaxContext;
}

namespace {

uint8_t NamedIn(const Placing& placing, uint32_t context) {
  const int unnamed = context > 0 ? wire::kContextOfSettings : 0;
  return static_cast<uint8_t>(
      (placing.context ? wire::kNamedContext : unnamed) | (placing.kv_type ? wire::kNamedKv : 0) |
      (placing.adapters ? wire::kNamedAdapters : 0) | (placing.keep_ms ? wire::kNamedKeep : 0) |
      (placing.codec ? wire::kNamedCodec : 0));
}

}  // namespace

NodeImpl::Shape NodeImpl::ShapeOfSettings(const ModelId& model) const {
  Shape shape{.context = options_.default_context, .kv_type = options_.kv_type};
  const uint32_t trained = TrainedContext(model);
  if (trained > 0) shape.context = std::min(shape.context, trained);
  return shape;
}

// Part of the versioned record of a model, so that a plan after another has the same: what was
// chosen once stays until it is asked for otherwise.
NodeImpl::Shape NodeImpl::ShapeFor(const ModelId& model, const Placing& placing) const {
  Shape shape = ShapeOfSettings(model);
  for (const wire::DesiredModel& record : core_->DesiredRecords()) {
    if (record.model != model || record.state == wire::DesiredState::kUnloaded) continue;
    shape = {.context = record.context, .kv_type = record.kv_type, .codec = record.codec};
  }
  if (const auto plan = RunningPlan(model))
    shape = {.context = plan->context, .kv_type = plan->kv_type, .codec = plan->codec};
  shape.context = placing.context.value_or(shape.context);
  shape.kv_type = placing.kv_type.value_or(shape.kv_type);
  shape.codec = placing.codec.value_or(shape.codec);
  return shape;
}

std::optional<wire::ModelHolding> NodeImpl::HoldingOf(const ModelId& model) const {
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    for (const wire::ModelHolding& holding : status.record.models) {
      if (holding.id == model) return holding;
    }
  }
  return std::nullopt;
}

bool NodeImpl::IsPinned(const ModelId& model) const {
  return std::ranges::any_of(core_->DesiredRecords(), [&](const wire::DesiredModel& record) {
    return record.model == model && record.keep_ms == wire::kKeepAlways &&
           record.state != wire::DesiredState::kUnloaded;
  });
}

void NodeImpl::Ensure(const ModelId& model, const Placing& placing,
                      std::function<void(Result<wire::Plan>)> done) {
  if (const auto revising = revising_.find(model); revising != revising_.end()) {
    revising->second.push_back([this, model, placing, done] { Ensure(model, placing, done); });
    return;
  }
  if (auto checked = CheckContext(model, placing); !checked)
    return done(std::unexpected(checked.error()));
  const Shape shape = ShapeFor(model, placing);
  const auto running = RunningPlan(model);
  if (running && (running->context != shape.context || running->kv_type != shape.kv_type ||
                  running->codec != shape.codec)) {
    return done(
        Fail(ErrorCode::kOverloaded,
             "{} runs with a context of {}, a {} KV cache and {} between devices; `exo stop {}` it "
             "before it is loaded with others",
             running->model_name, running->context, wire::kKvNames[running->kv_type],
             wire::NameOf(running->codec), running->model_name));
  }
  // Clients that always say how long undo no pin.
  if (IsPinned(model) && !placing.unpin) {
    Placing kept = placing;
    kept.keep_ms.reset();
    if (placing.keep_ms) return Ensure(model, kept, std::move(done));
  }
  cluster::EnsureModel event{.model = model,
                             .split = placing.split,
                             .context = shape.context,
                             .kv_type = shape.kv_type,
                             .adapters = {},
                             .named = NamedIn(placing, shape.context),
                             .keep_ms = placing.keep_ms.value_or(options_.keep_ms),
                             .codec = shape.codec,
                             .use = placing.use,
                             .users = placing.users};
  // Adapters first: what runs has its own.
  auto adapters =
      placing.adapters.value_or(running ? std::vector<AdapterChoice>{} : AdaptersOfSettings(model));
  const bool adapted = placing.adapters || !adapters.empty();
  auto go_on = [this, adapted, adapters = std::move(adapters),
                done](cluster::EnsureModel chosen) mutable {
    if (!adapted) return EnsureWith(std::move(chosen), std::move(done));
    EnsureAdapted(std::move(chosen), std::move(adapters), std::move(done));
  };
  if (!placing.draft) return go_on(std::move(event));
  const uint32_t context = event.context;
  FindDraft(
      *placing.draft, model, context,
      [this, event = std::move(event), go_on, done, running](Result<wire::DraftRef> draft) mutable {
        if (!draft) return done(std::unexpected(draft.error()));
        if (running && (!running->draft || running->draft->file != draft->file)) {
          return done(Fail(ErrorCode::kOverloaded,
                           "{} runs with {} as its draft; `exo stop {}` it before it is "
                           "loaded with {}",
                           running->model_name, running->draft ? running->draft->name : "no model",
                           running->model_name, draft->name));
        }
        RememberFile(draft->file);
        event.draft = *std::move(draft);
        go_on(std::move(event));
      });
}

// A model that is loaded with it comes back after a restart, and needs it then.
void NodeImpl::RememberFile(const ModelId& id) {
  if (const auto file = models_->Find(id)) models_->Remember(file);
}

void NodeImpl::EnsureWith(cluster::EnsureModel event,
                          std::function<void(Result<wire::Plan>)> done) {
  const uint64_t ticket = next_ticket_++;
  ensures_[ticket] = [done](Result<wire::InstanceSummary> summary) {
    if (!summary) return done(std::unexpected(summary.error()));
    done(summary->plan);
  };
  event.ticket = ticket;
  Feed(std::move(event));
}

}  // namespace exo::node
