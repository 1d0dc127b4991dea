// What the HTTP service and the command line ask of a node.
#include <algorithm>

#include "cluster/give_back.h"
#include "node/model_names.h"
#include "node/node_impl.h"
#include "node/plan_view.h"
#include "node/shape.h"

namespace exo::node {
namespace {

ModelView ViewOfHolding(const wire::ModelHolding& holding) {
  return {.name = holding.name,
          .id = holding.id,
          .bytes = holding.file_bytes,
          .architecture = holding.architecture,
          .context = holding.trained_context,
          .layers = holding.layers};
}

// What runs of a model.
void NoteInstance(const wire::InstanceSummary& instance, ModelView& view) {
  if (instance.state > wire::InstanceState::kReady) return;
  view.adapters = instance.plan.adapters;
  view.draft = instance.plan.draft ? instance.plan.draft->name : "";
  if (instance.state == wire::InstanceState::kReady) {
    view.state = "ready";
    ++view.replicas;
  } else if (view.state.empty()) {
    view.state = "loading";
  }
}

}  // namespace

std::vector<ModelView> NodeImpl::Models() const {
  std::map<ModelId, ModelView> views;
  std::map<ModelId, std::string> devices;  // one that has it
  ModelNames names;
  for (const auto& file : models_->All()) {
    devices[file->manifest().id()] = record_.name;
    const model::WeightCount& weights = file->manifest().weights();
    const model::ModelConfig& config = *file->manifest().config();
    views[file->manifest().id()] = {.name = models_->NameOf(file),
                                    .id = file->manifest().id(),
                                    .bytes = file->manifest().file_bytes(),
                                    .architecture = config.architecture,
                                    .context = config.context,
                                    .layers = config.layers,
                                    .parameters = weights.parameters,
                                    .weights = weights.type,
                                    .created = file->created(),
                                    .local = true,
                                    .state = "",
                                    .names = models_->FurtherNamesOf(file)};
    names.Add(file->manifest().id(), models_->NameOf(file), record_.name);
  }
  const std::vector<cluster::NodeStatus> nodes = core_->Nodes();
  for (const Held& held : HoldingsOf(nodes)) {
    const wire::ModelHolding& holding = held.holding;
    if (held.replaced || (held.here && !holding.pulled)) continue;
    ModelView& view = views.try_emplace(holding.id, ViewOfHolding(holding)).first->second;
    view.local |= held.here;
    devices.try_emplace(holding.id, held.device);
    names.Add(holding.id, holding.name, held.device);
  }
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const wire::Plan& plan = instance.summary.plan;
    if (instance.summary.state == wire::InstanceState::kReady) {
      // Its file may have left with the node that held it.
      views.try_emplace(plan.model, ModelView{.name = plan.model_name,
                                              .id = plan.model,
                                              .context = plan.context,
                                              .layers = plan.layers,
                                              .held = false});
    }
    const auto found = views.find(plan.model);
    if (found == views.end()) continue;
    NoteInstance(instance.summary, found->second);
  }
  std::vector<ModelView> models;
  for (auto& [id, view] : views) {
    view.name = names.Distinct(id, view.name, devices[id]);
    models.push_back(std::move(view));
  }
  AddPresets(models);
  std::sort(models.begin(), models.end(),
            [](const ModelView& a, const ModelView& b) { return a.name < b.name; });
  return models;
}

ClusterView NodeImpl::Cluster() const {
  ClusterView view;
  view.self = identity_->id();
  for (const cluster::NodeStatus& status : core_->Nodes()) {
    view.nodes.push_back({.record = status.record,
                          .state = status.self ? "self" : cluster::PeerStateName(status.state),
                          .detail = status.detail,
                          .rtt_ms = status.rtt_ms,
                          .health = cluster::DescribeHealth(status.record.health)});
    view.nodes.back().record.name = KnownNameOf(status.record);
  }
  std::map<ModelId, uint64_t> keep;
  for (const wire::DesiredModel& record : core_->DesiredRecords())
    keep[record.model] = record.keep_ms;
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    view.instances.push_back(
        {.summary = instance.summary,
         .state = cluster::InstanceStateName(instance.summary.state),
         .detail = cluster::DescribeState(instance.summary, Names()),
         .reason =
             cluster::DescribePlacement(instance.summary.plan, instance.summary.expected, Names()),
         .predicted_tokens_per_second = instance.summary.expected.decode_tokens_per_second,
         .keep_ms = keep[instance.summary.plan.model],
         .generated_tokens = requests_->GeneratedBy(instance.summary.plan.id)});
  }
  view.wire_rows = sent_rows_.rows;
  view.wire_bytes = sent_rows_.bytes;
  view.neighbors_of_other_clusters = discovery_ == nullptr ? 0 : discovery_->foreign_nodes();
  view.sequence = log_.last();
  return view;
}

void NodeImpl::OnRequestChanged(const RequestId& request, const RequestChange& change) {
  log_.Add({.kind = EventKind::kRequest,
            .node = identity_->id(),
            .id = request.Hex(),
            .name = change.model,
            .state = change.state,
            .detail = change.detail});
}

// What is asked for, else what the model has or would be loaded with.
void NodeImpl::PlanWithParts(cluster::PlanModel event, const Placing& placing,
                             std::function<void(Result<PlanView>)> done) {
  const ModelId model = event.model;
  std::optional<std::vector<wire::AdapterRef>> had;
  for (const wire::DesiredModel& record : core_->DesiredRecords()) {
    if (record.model != model || record.state == wire::DesiredState::kUnloaded) continue;
    had = record.adapters;
    event.draft = record.draft;
  }
  if (const auto plan = RunningPlan(model)) {
    had = plan->adapters;
    event.draft = plan->draft;
  }
  const auto feed = [this, done](cluster::PlanModel chosen) {
    chosen.ticket = next_ticket_++;
    plans_[chosen.ticket] = [this, done, model = chosen.model](cluster::PlanMade made) {
      if (!made.result) return done(std::unexpected(made.result.error()));
      std::vector<cluster::PlanNode> nodes = core_->PlannerNodes();
      const std::vector<wire::Plan> running = RunningPlans(model);
      for (const wire::Plan& plan : running) cluster::GiveBack(plan, nodes);
      std::vector<wire::PlannedReplica> replicas = std::move(made.replicas);
      replicas.insert(replicas.begin(),
                      wire::PlannedReplica{made.result->plan, made.result->expected});
      PlanView view = MakePlanView(replicas, std::move(made.rivals), nodes, Names());
      if (!running.empty()) MarkRunning(view, running, Names());
      done(std::move(view));
    };
    Feed(std::move(chosen));
  };
  const auto with_draft = [this, feed, done, draft = placing.draft](cluster::PlanModel chosen) {
    if (!draft) return feed(std::move(chosen));
    FindDraft(*draft, chosen.model, chosen.context,
              [feed, done, chosen](Result<wire::DraftRef> found) mutable {
                if (!found) return done(std::unexpected(found.error()));
                chosen.draft = *std::move(found);
                feed(std::move(chosen));
              });
  };
  if (!placing.adapters && had) {
    event.adapters = *std::move(had);
    return with_draft(std::move(event));
  }
  FindAdapters(model, placing.adapters ? *placing.adapters : AdaptersOfSettings(model),
               [with_draft, done,
                event = std::move(event)](Result<std::vector<wire::AdapterRef>> found) mutable {
                 if (!found) return done(std::unexpected(found.error()));
                 event.adapters = *std::move(found);
                 with_draft(std::move(event));
               });
}

void NodeImpl::MakePlan(std::string model, const Placing& placing,
                        std::function<void(Result<PlanView>)> done) {
  model = NameHere(model);
  const auto known = [this, placing, done](const ModelId& id) {
    if (auto checked = CheckContext(id, placing); !checked)
      return done(std::unexpected(checked.error()));
    // Members that hold it are asked in words that know nothing of it.
    if (!placing.without.empty() && models_->Find(id) == nullptr) {
      return done(Fail(ErrorCode::kUnsupported,
                       "a plan without some devices is made where the model's file is, and {} does "
                       "not have it; ask a device that does",
                       record_.name));
    }
    const Shape shape = ShapeFor(id, placing);
    PlanWithParts({.model = id,
                   .split = placing.split,
                   .context = shape.context,
                   .kv_type = shape.kv_type,
                   .codec = shape.codec,
                   .use = placing.use,
                   .users = placing.users,
                   .without = placing.without},
                  placing, done);
  };
  // A file that nobody named before is known until this node stops.
  const auto opened = [known, done](Result<std::shared_ptr<const store::ModelFile>> file) {
    if (!file) return done(std::unexpected(file.error()));
    if (auto is_model = (*file)->manifest().CheckIsModel(); !is_model)
      return done(Wrap(is_model.error(), (*file)->path()));
    known((*file)->manifest().id());
  };
  if (model.find('/') != std::string::npos && models_->Find(model) == nullptr)
    return models_->Open(model, opened);
  FindModel(model, [known, done](Result<ModelId> id) {
    if (!id) return done(std::unexpected(id.error()));
    known(*id);
  });
}

void NodeImpl::AddModel(std::string path, std::function<void(Result<std::string>)> done) {
  models_->Add(std::move(path), [this, done](Result<std::shared_ptr<const store::ModelFile>> file) {
    if (!file) return done(std::unexpected(file.error()));
    done(models_->NameOf(*file));
  });
}

void NodeImpl::UnloadRemoved(const std::shared_ptr<const store::ModelFile>& file) {
  if (file == nullptr || models_->Find(file->manifest().id()) != nullptr) return;
  const uint64_t ticket = next_ticket_++;
  unloads_[ticket] = [](const Result<void>&) {};  // it need not have been running
  Feed(cluster::UnloadModel{.ticket = ticket, .model = file->manifest().id()});
}

void NodeImpl::Load(std::string model, const Placing& asked,
                    std::function<void(Result<PlanView>)> done) {
  if (auto member = CheckIsMember(); !member) return done(std::unexpected(member.error()));
  Placing placing = asked;
  const auto preset = presets_.Find(model);
  if (preset != nullptr && !preset->adapters.empty() && !placing.adapters)
    placing.adapters = preset->adapters;
  FindModel(model, [this, placing, done](Result<ModelId> id) {
    if (!id) return done(std::unexpected(id.error()));
    const bool was_running = RunningPlan(*id).has_value();
    const auto loaded = [this, was_running, done](Result<wire::Plan> plan) {
      if (!plan) return done(std::unexpected(plan.error()));
      wire::Expectation expected;
      for (const cluster::InstanceStatus& instance : core_->Instances())
        if (instance.summary.plan.id == plan->id) expected = instance.summary.expected;
      PlanView view = MakePlanView({{*plan, expected}}, {}, core_->PlannerNodes(), Names());
      view.was_running = was_running;
      done(std::move(view));
    };
    // First what the requests will need: the plan finds its memory taken. What it lacks they say.
    GetVocabulary(*id,
                  [this, id = *id, placing, loaded](const auto&) { Ensure(id, placing, loaded); });
  });
}

void NodeImpl::Unload(std::string model, bool when_idle, std::function<void(Result<void>)> done) {
  FindModel(model, [this, when_idle, done](Result<ModelId> id) {
    if (!id) return done(std::unexpected(id.error()));
    // Who computes answers now, only its lead knows.
    if (when_idle && IsPlaced(*id)) {
      return Ensure(*id, {.keep_ms = wire::kKeepUntilIdle, .unpin = true},
                    [done](const Result<wire::Plan>& kept) {
                      done(kept ? Result<void>() : std::unexpected(kept.error()));
                    });
    }
    const uint64_t ticket = next_ticket_++;
    unloads_[ticket] = done;
    Feed(cluster::UnloadModel{.ticket = ticket, .model = *id});
  });
}

}  // namespace exo::node
