// Models that are pulled from the internet: how they become models of this node, and cease to be.
#include <algorithm>
#include <utility>

#include "node/node_impl.h"
#include "node/pull_preview.h"
#include "node/shape.h"

namespace exo::node {
namespace {

// Of a model that needs no pull: its watcher hears so on the next turn of the loop.
class PulledAlready final : public Pulling {
 public:
  PulledAlready(net::EventLoop& loop, PullWatcher& watcher, const std::string& name) {
    loop.Post([alive = std::weak_ptr<char>(alive_), &watcher, name] {
      if (!alive.expired()) watcher.OnPulled(name);
    });
  }

 private:
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace

void NodeImpl::StartPulls() {
  pulls_ = std::make_unique<Pulls>(
      loop_, jobs_, state_,
      PullsOptions{
          .sources = options_.sources,
          .space = options_.download_space,
          .stays = [this](const std::string& name) { return WhyItStays(name); },
          .removed = [this] { models_->Rescan(); },
          .adopt =
              [this](std::string path, std::function<void(Result<std::string>)> done) {
                models_->Open(
                    std::move(path),
                    [this, done](const Result<std::shared_ptr<const store::ModelFile>>& file) {
                      if (!file) return done(std::unexpected(file.error()));
                      done(models_->NameOf(*file));
                    });
              },
          .describe =
              [this](const store::Manifest& manifest, const fetch::RemoteModel& model) {
                return DescribeRemote(manifest, model);
              },
          .find_elsewhere =
              [this](const Hash256& content, bool announced) {
                return FindElsewhere(OtherMembers(), identity_->id(), content, announced);
              },
          .is_awaited =
              [this](const Hash256& content) { return IsAwaited(OtherMembers(), content); },
          .announce = [this] { AnnounceDownloads(); }});
}

void NodeImpl::AnnounceDownloads() {
  record_.downloads = pulls_->Downloads();
  record_.awaits = pulls_->Awaited();
  for (wire::ModelHolding& holding : record_.models)
    if (!holding.pulled) holding.content = pulls_->ContentOf(holding.name);
  FeedRecord();
}

std::string NodeImpl::WhyItStays(const std::string& name) const {
  const auto file = models_->Find(name);
  if (file == nullptr) return "";
  const ModelId id = file->manifest().id();
  if (IsPlaced(id)) return "is loaded";
  if (IsPinned(id)) return "is pinned";
  for (const cluster::InstanceStatus& instance : core_->Instances()) {
    const wire::Plan& plan = instance.summary.plan;
    const bool uses =
        (plan.draft && plan.draft->file == id) ||
        std::ranges::find(plan.adapters, id, &wire::AdapterRef::file) != plan.adapters.end();
    if (uses) return "is loaded with " + plan.model_name;
  }
  return "";
}

void NodeImpl::NoteUse(const ModelId& model) {
  if (const auto file = models_->Find(model)) pulls_->NoteUse(models_->NameOf(file));
}

std::vector<wire::NodeRecord> NodeImpl::OtherMembers() const {
  std::vector<wire::NodeRecord> others;
  for (cluster::NodeStatus& status : core_->Nodes()) {
    const bool counts = !status.self && status.state == cluster::PeerState::kAlive &&
                        !trust_->trust().IsGuest(status.record.id);
    if (counts) others.push_back(std::move(status.record));
  }
  return others;
}

std::string NodeImpl::NameHere(const std::string& model) const {
  if (models_->Find(model) != nullptr) return model;
  const std::string pulled = pulls_->NameOf(model);
  return pulled.empty() ? model : pulled;
}

std::string NodeImpl::DescribeRemote(const store::Manifest& manifest,
                                     const fetch::RemoteModel& model) const {
  if (!manifest.CheckIsModel()) return {};
  return DescribeFit(ShapeOf(manifest, model.name, *backend_), model, core_->PlannerNodes(),
                     {.owner = identity_->id(),
                      .prefer = identity_->id(),
                      .context = options_.default_context,
                      .kv_type = options_.kv_type});
}

std::unique_ptr<Pulling> NodeImpl::Pull(std::string model, PullWatcher& watcher) {
  // A name may have been given another model since it was pulled: that is looked for again.
  const bool pulled = !pulls_->NameOf(model).empty();
  if (!pulled && (presets_.Find(model) != nullptr || !MatchesOf(model).empty()))
    return std::make_unique<PulledAlready>(loop_, watcher, model);
  return pulls_->Start(model, watcher);
}

}  // namespace exo::node
