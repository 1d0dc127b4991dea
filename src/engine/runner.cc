#include "engine/runner.h"

#include <algorithm>
#include <map>
#include <optional>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "engine/draft_model.h"
#include "engine/lead_loop.h"
#include "engine/load_stage.h"
#include "engine/shard_group.h"
#include "engine/stage_loop.h"
#include "engine/stall_watch.h"
#include "sys/process.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::engine {
namespace {

uint64_t Milliseconds(Time time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
}

class Runner final : public InstanceRunner {
 public:
  Runner(backend::Backend& backend, StageStore& stages, std::unique_ptr<StageSource> source,
         RunnerOptions options, RunnerEvents events)
      : backend_(backend),
        store_(stages),
        source_(std::move(source)),
        options_(std::move(options)),
        events_(std::move(events)) {
    if (options_.moved != nullptr) options_.moved->Expect(options_.plan.id);
    thread_ = StartThread([this] {
      Main();
      if (options_.moved != nullptr) options_.moved->Complete(options_.plan.id, sys::Now());
    });
  }
  ~Runner() override {
    {
      const MutexLock lock(mutex_);
      stop_.store(true);
      ShutdownLinks();
    }
    commands_.wake.Notify();
    thread_.join();
  }

  void Serve(std::vector<NextStage> next) override {
    {
      const MutexLock lock(mutex_);
      next_ = std::move(next);
    }
    commands_.wake.Notify();
  }
  void GiveLink(std::unique_ptr<DataLink> link) override {
    {
      const MutexLock lock(mutex_);
      const NodeId peer = link->peer();
      given_[peer] = std::move(link);
    }
    commands_.wake.Notify();
  }
  void Submit(wire::Submit submit) override { commands_.Push(std::move(submit)); }
  void Cancel(const RequestId& request) override {
    cancelled_.Add(request);
    commands_.Push(wire::CancelRequest{request, options_.plan.id});
  }
  void Pause(const RequestId& request, bool paused) override {
    commands_.Push(wire::PauseRequest{request, options_.plan.id, paused});
  }
  void CancelRows(const NodeId& from, const RequestId& request) override {
    if (from == options_.plan.stages[0].node) cancelled_.Add(request);
  }
  void DropRows(const NodeId& from, const wire::StaleRows& stale) override {
    if (from == options_.plan.stages[0].node)
      cancelled_.AddThrough(stale.request, stale.through_step);
  }
  void KeepStage(bool moves) override {
    moves_.store(moves);
    keep_.store(true);
  }
  uint32_t active() const override { return commands_.active.load(); }
  uint32_t queued() const override { return commands_.queued.load(); }
  uint64_t used_pages() const override { return commands_.used_pages.load(); }
  void Watch(uint64_t progress, Time now) override {
    if (!watch_.Tick(commands_.working.load(), progress + commands_.steps.load(), now)) return;
    if (stalled_.exchange(true)) return;
    events_.on_failed(Stalled(), {});
    const MutexLock lock(mutex_);
    ShutdownLinks();
  }

 private:
  void Main() {
    const Time start = sys::Now();
    if (options_.pages != nullptr && options_.stage == 0)
      texts_ = options_.pages->Texts(PageScopeOf(options_));  // read beside the load
    const StageKey key = KeyOf(options_.plan, options_.stage);
    stage_ = store_.Take(key);
    if (stage_ == nullptr) {
      store_.Clear();  // its memory is wanted
      auto loaded =
          LoadStage(*source_, backend_, options_.plan, options_.stage, events_.on_progress, &stop_);
      if (!loaded) {
        events_.on_loaded(std::unexpected(loaded.error()), 0);
        return;
      }
      stage_ = std::move(*loaded);
    }
    const wire::StagePlan& own = options_.plan.stages[options_.stage];
    stage_->Bind(options_.plan,
                 {options_.pages, own.layer_begin, own.layer_end, options_.load_moved});
    if (options_.draft != nullptr && options_.plan.draft) {
      auto draft = LoadDraft(*options_.draft, backend_, options_.plan, &stop_);
      if (!draft) {
        events_.on_loaded(
            Wrap(draft.error(), fmt::format("the draft {}", options_.plan.draft->name)), 0);
        return;
      }
      draft_ = std::make_unique<DraftModel>(
          std::move(*draft), wire::PagesOf(options_.plan.context) * wire::kPagePositions);
    }
    events_.on_loaded({}, Milliseconds(sys::Now() - start));
    const auto served = ServeUntilStopped();
    if (!served && !stop_.load() && !stalled_.exchange(true)) {
      events_.on_failed(served.error(), lost_);
    }
    WaitForStop();
    // A stage whose compute failed is not worth keeping. Memory is given back on this thread,
    // before anybody waits for it.
    const bool keeps = keep_.load() && (served || !lost_.IsZero()) && LeavePages();
    stage_->Unbind();
    if (keeps) store_.Put(key, std::move(stage_), sys::Now());
    stage_.reset();
  }

  // False: the device has failed.
  bool LeavePages() {
    if (!moves_.load() || options_.moved == nullptr || HasShards(options_.plan)) return true;
    const auto left = stage_->LeavePages(options_.plan.id, *options_.moved);
    if (!left) LOG(kWarning, "KV of a plan that moves is lost: {}", left.error().message);
    return left.has_value();
  }

  // What becomes of the stage is known when the instance is stopped.
  void WaitForStop() {
    while (!stop_.load()) {
      sys::WaitReadable(commands_.wake.fd(), std::chrono::seconds(1));
      commands_.wake.Drain();
    }
  }

  void ShutdownLinks() EXO_REQUIRES(mutex_) {
    for (DataLink* link : shared_) link->Shutdown();
  }

  Error Stalled() const {
    return {ErrorCode::kDisconnected,
            fmt::format(
                "no device of {} has computed anything for {} s though a step is in flight",
                options_.plan.model_name,
                std::chrono::duration_cast<std::chrono::seconds>(options_.timers.stall).count())};
  }

  Result<void> ServeUntilStopped() {
    TRY(MakeLinks(TRY(WaitForServe())));
    std::optional<ShardGroup> shards;
    if (options_.plan.stages[options_.stage].shard) {
      shards.emplace(options_.plan, options_.stage, stage_->config(), GroupLinks(),
                     options_.timers);
    }
    const Links links = LinksWith(shards ? &*shards : nullptr);
    if (options_.stage == 0) {
      GrammarMasks masks([this] { return source_->Tokenizer(&stop_); }, options_.grammars);
      return RunLoop(LeadLoop(options_, *stage_, commands_, cancelled_, links, events_, masks,
                              draft_.get(), std::move(texts_)));
    }
    return RunLoop(StageLoop(options_, *stage_, commands_.wake, cancelled_, links));
  }

  Result<void> RunLoop(auto loop) {
    const auto result = loop.Run(stop_);
    lost_ = loop.lost();
    return result;
  }

  Result<std::vector<NextStage>> WaitForServe() {
    for (;;) {
      if (stop_.load()) return Fail(ErrorCode::kCancelled, "stopped");
      {
        const MutexLock lock(mutex_);
        if (next_) return *next_;
      }
      sys::WaitReadable(commands_.wake.fd(), std::chrono::seconds(1));
      commands_.wake.Drain();
    }
  }

  Result<void> MakeLinks(const std::vector<NextStage>& next) {
    const Time limit = sys::Now() + options_.timers.link;
    for (const NextStage& stage : next) {
      lost_ = stage.node;
      links_[stage.node] = Counted(TRY(ConnectNext(stage, limit)));
    }
    for (const size_t stage : ConnectedFrom(options_.plan, options_.stage)) {
      const NodeId& node = options_.plan.stages[stage].node;
      lost_ = node;
      links_[node] = Counted(TRY(WaitForGivenLink(node, limit)));
    }
    lost_ = NodeId{};
    const uint64_t limit_bytes = std::min<uint64_t>(FrameLimit(), wire::kMaxDataFrame);
    std::vector<DataLink*> shared;
    const wire::StageGroup group = wire::GroupOf(options_.plan, options_.stage);
    for (const auto& [node, link] : links_) {
      link->SetFrameLimit(limit_bytes);
      // Shards exchange their sums in the middle of a layer, when nobody computes.
      if (!group.Has(static_cast<size_t>(StageOf(options_.plan, node)))) link->Overlap();
      shared.push_back(link.get());
    }
    const MutexLock lock(mutex_);
    shared_ = std::move(shared);
    return {};
  }

  std::unique_ptr<DataLink> Counted(std::unique_ptr<DataLink> link) {
    return options_.traffic == nullptr ? std::move(link)
                                       : options_.traffic->Counted(std::move(link));
  }

  // Rows of a step; between shards, parts of sums and logits too.
  uint64_t FrameLimit() const {
    const model::ModelConfig& config = stage_->config();
    const wire::Plan& plan = options_.plan;
    const uint64_t floats = plan.stages[options_.stage].shard
                                ? MostShardFloats(plan, options_.stage, config, stage_->low_rank())
                                : uint64_t{plan.chunk} * config.width;
    return floats * sizeof(float) + wire::kMaxControlFrame;
  }

  // Null: there is none.
  DataLink* LinkTo(size_t stage) const {
    const auto link = links_.find(options_.plan.stages[stage].node);
    return link == links_.end() ? nullptr : link->second.get();
  }
  std::vector<DataLink*> GroupLinks() const {
    const wire::StageGroup group = wire::GroupOf(options_.plan, options_.stage);
    std::vector<DataLink*> links;
    for (size_t i = group.begin; i < group.end; ++i) links.push_back(LinkTo(i));
    return links;
  }
  Links LinksWith(ShardGroup* shards) const {
    Links links{.in = LinkTo(RowsFrom(options_.plan, options_.stage)), .shards = shards};
    for (const size_t stage : RowsTo(options_.plan, options_.stage))
      links.out.push_back(LinkTo(stage));
    return links;
  }

  Result<std::unique_ptr<DataLink>> ConnectNext(const NextStage& next, Time limit) {
    for (;;) {
      auto link = next.connect(limit);
      if (link || stop_.load() || sys::Now() + options_.timers.link_retry > limit) return link;
      std::this_thread::sleep_for(options_.timers.link_retry);
    }
  }

  Result<std::unique_ptr<DataLink>> WaitForGivenLink(const NodeId& from, Time limit) {
    for (;;) {
      {
        const MutexLock lock(mutex_);
        if (auto found = given_.extract(from)) return std::move(found.mapped());
      }
      if (stop_.load()) return Fail(ErrorCode::kCancelled, "stopped");
      const Time now = sys::Now();
      if (now > limit) {
        return Fail(ErrorCode::kDisconnected, "another stage of {} did not connect in {} s",
                    options_.plan.model_name,
                    std::chrono::duration_cast<std::chrono::seconds>(options_.timers.link).count());
      }
      sys::WaitReadable(commands_.wake.fd(),
                        std::min<Time>(limit - now, std::chrono::milliseconds(100)));
      commands_.wake.Drain();
    }
  }

  backend::Backend& backend_;
  StageStore& store_;
  const std::unique_ptr<StageSource> source_;
  const RunnerOptions options_;
  const RunnerEvents events_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> keep_{false};
  std::atomic<bool> moves_{false};
  std::atomic<bool> stalled_{false};   // the failure was reported
  StallWatch watch_{options_.timers};  // of the loop thread
  LeadCommands commands_;
  CancellationSet cancelled_;

  Mutex mutex_;
  std::optional<std::vector<NextStage>> next_ EXO_GUARDED_BY(mutex_);
  std::map<NodeId, std::unique_ptr<DataLink>> given_ EXO_GUARDED_BY(mutex_);
  std::vector<DataLink*> shared_ EXO_GUARDED_BY(mutex_);  // for Shutdown from the destructor

  // Of the runner's thread.
  std::unique_ptr<StageWorker> stage_;
  std::unique_ptr<DraftModel> draft_;
  std::map<NodeId, std::unique_ptr<DataLink>> links_;
  NodeId lost_;
  std::shared_ptr<backend::PageTexts> texts_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<InstanceRunner> InstanceRunner::Start(backend::Backend& backend, StageStore& stages,
                                                      std::unique_ptr<StageSource> source,
                                                      RunnerOptions options, RunnerEvents events) {
  return std::make_unique<Runner>(backend, stages, std::move(source), std::move(options),
                                  std::move(events));
}

}  // namespace exo::engine
