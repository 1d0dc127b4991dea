#include "service/harness.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "engine/text_stream.h"
#include "node/event_log.h"
#include "service/fake_requests.h"
#include "service/listeners.h"
#include "service/service.h"
#include "store/conversations.h"

namespace exo::service {
namespace {

namespace asio = boost::asio;

struct Counters {
  std::atomic<int> alive{0}, pauses{0}, resumes{0}, unloads_when_idle{0};
  std::atomic<uint64_t> tokens{0};
};

// Tokens that the fake's context has for an answer.
constexpr uint32_t kRoom = 1000;

class FakeGeneration final : public node::Generation {
 public:
  FakeGeneration(asio::io_context& context, Counters& counters, Script script,
                 node::GenerateSink& sink, const node::GenerateRequest& request)
      : counters_(counters),
        script_(std::move(script)),
        sink_(sink),
        text_(request.stop),
        timer_(context) {
    ++counters_.alive;
    stats_ = {
        .prompt_tokens = 7,
        .seed = request.has_seed ? request.sampler.seed : 99,
        .ttft_ms = 12.5,
        .tokens_per_second = 50,
        .prompt_per_second = 700,
        .stages = {{.node = "kitchen", .layer_begin = 0, .layer_end = 4, .milliseconds = 1.5}},
        .reasons = script_.reasons};
    if (request.max_tokens) limit_ = *request.max_tokens;
    if (request.readout) Read(request);
    if (request.tells_prompt) prompt_ = {1, 2, 3, 4, 5, 6, 7};
    Later(script_.prefill, [this] {
      sink_.OnStarted({.prompt_tokens = 7,
                       .stages = stats_.stages,
                       .prompt = prompt_,
                       .max_tokens = std::min(limit_, kRoom)});
      if (script_.extra) script_.extra(sink_);
      Turn();
    });
  }
  ~FakeGeneration() override { --counters_.alive; }

  void SetPaused(bool paused) override {
    ++(paused ? counters_.pauses : counters_.resumes);
    if (std::exchange(paused_, paused) && !paused) Turn();
  }

 private:
  void Later(std::chrono::milliseconds delay, std::function<void()> work) {
    timer_.expires_after(delay);
    // A wait that is over cannot be cancelled any more: its turn may come when this object is gone.
    timer_.async_wait([work = std::move(work),
                       here = std::weak_ptr(here_)](const boost::system::error_code& error) {
      if (!error && !here.expired()) work();
    });
  }
  // Numbers that tell what was asked: how long the text is.
  void Read(const node::GenerateRequest& request) {
    limit_ = 0;
    if (request.pair) {
      stats_.values = {static_cast<float>(request.pair->document.size()), 2};
    } else {
      const size_t size = request.prompt ? request.prompt->size() : request.prompt_ids->size();
      stats_.values = {static_cast<float>(size), request.readout->unit ? -0.5f : -5};
    }
  }
  void Turn() {
    Later(script_.delay, [this] {
      if (paused_) return;  // set while this turn was waiting; SetPaused(false) begins a new one
      for (size_t i = 0; i < script_.burst && !ended_; ++i) Token();
      if (!ended_ && !paused_) Turn();
    });
  }
  void Token() {
    const bool empty = !script_.endless && stats_.completion_tokens >= script_.pieces.size();
    if (empty || stats_.completion_tokens >= limit_) {
      if (const std::string rest = text_.Finish(); !rest.empty())
        sink_.OnDelta({node::TextDelta{rest}, {}});
      return End(empty ? script_.reason : wire::FinishReason::kLength);
    }
    const auto id = static_cast<TokenId>(stats_.completion_tokens++ % script_.pieces.size());
    ++counters_.tokens;
    const std::string text = text_.Push(script_.pieces[static_cast<size_t>(id)]);
    sink_.OnDelta({node::TextDelta{text}, std::span(&id, 1)});
    if (text_.stopped()) End(wire::FinishReason::kStop);
  }
  void End(wire::FinishReason reason) {
    ended_ = true;
    if (script_.loss) return sink_.OnError(*script_.loss);
    stats_.stops = {text_.stopped_by()};
    sink_.OnDone(reason, stats_);
  }

  Counters& counters_;
  const Script script_;
  node::GenerateSink& sink_;
  engine::TextStream text_;
  node::GenerateStats stats_;
  std::vector<TokenId> prompt_;
  uint32_t limit_ = UINT32_MAX;
  bool paused_ = false, ended_ = false;
  const std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
  asio::steady_timer timer_;
};

NodeId Id(uint8_t value) {
  NodeId id;
  id.bytes.fill(value);
  return id;
}

wire::Plan FakePlan() {
  wire::Plan plan{.model_name = "tiny", .owner = Id(1), .layers = 8, .context = 512, .kv_pages = 4};
  plan.stages = {{.node = Id(1), .layer_begin = 0, .layer_end = 5, .bytes = 100},
                 {.node = Id(2), .layer_begin = 5, .layer_end = 8, .bytes = 60}};
  return plan;
}

// "hf:o/r" comes in two steps, "hf:o/cut" breaks off after the first; what is here is here; others
// are nowhere.
class FakePulling final : public node::Pulling {
 public:
  FakePulling(asio::io_context& loop, Counters& counters, const std::string& model,
              node::PullWatcher& watcher)
      : counters_(counters) {
    ++counters_.alive;
    asio::post(loop, [alive = std::weak_ptr<char>(alive_), model, &watcher] {
      if (alive.expired()) return;
      if (model == "tiny") return watcher.OnPulled(model);
      if (model != "hf:o/r" && model != "hf:o/cut")
        return watcher.OnPulled(Fail(ErrorCode::kNotFound, "there is no '{}'", model));
      node::PullProgress progress{.step = node::PullProgress::Step::kFile,
                                  .file = "r-Q4_K_M.gguf",
                                  .sha256 = std::string(64, 'a'),
                                  .completed = 250,
                                  .total = 1000,
                                  .bytes_per_second = 125,
                                  .seconds_left = 6};
      watcher.OnProgress(progress);
      if (model == "hf:o/cut")
        return watcher.OnPulled(Fail(ErrorCode::kDisconnected, "the line is cut"));
      progress.step = node::PullProgress::Step::kPlacing;
      progress.completed = 1000;
      watcher.OnProgress(progress);
      watcher.OnPulled(std::string("r-Q4_K_M"));
    });
  }
  ~FakePulling() override { --counters_.alive; }

 private:
  Counters& counters_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

class FakePairing final : public node::Pairing {
 public:
  Result<node::InviteView> Invite(bool guest) override {
    return node::InviteView{.code = "042137",
                            .code_seconds = 120,
                            .links = {"exo://10.0.0.1:7/x"},
                            .link_seconds = 600,
                            .guest = guest};
  }
  void Join(node::JoinRequest request, std::function<void(Result<node::JoinView>)> done) override {
    if (request.code != "042137") return done(Fail(ErrorCode::kInvalid, "the code is wrong"));
    done(node::JoinView{.id = Id(1), .name = "kitchen " + request.at});
  }
  void Approve(std::string device, bool guest,
               std::function<void(Result<node::TrustedView>)> done) override {
    done(node::TrustedView{.id = Id(2), .name = device, .state = guest ? "guest" : "member"});
  }
  void Forget(std::string device, std::function<void(Result<node::TrustedView>)> done) override {
    if (device != "desk")
      return done(Fail(ErrorCode::kNotFound, "there is no device '{}'", device));
    done(node::TrustedView{.id = Id(2), .name = device, .state = "forgotten"});
  }
  void RotateSecret(std::function<void(Result<void>)> done) override { done({}); }
  void RotateKey(std::function<void(Result<node::TrustedView>)> done) override {
    done(node::TrustedView{.id = Id(3), .name = "kitchen", .state = "member"});
  }
  std::vector<node::TrustedView> Trusted() const override {
    return {{.id = Id(2), .name = "desk", .state = "pending"}};
  }
  Result<std::string> Secret() const override { return "AAAA-BBBB"; }
};

node::ModelMetrics FakeModelMetrics() {
  node::ModelMetrics metrics{.running = 1, .prompt_tokens = 10, .cached_tokens = 4, .stopped = 2};
  metrics.first_token.Observe(0.07);
  metrics.first_token.Observe(1e6);
  metrics.prefill.Observe(2);
  return metrics;
}
// Over a file in memory, with pages of a few messages.
class FakeConversations final : public node::Conversations {
 public:
  explicit FakeConversations(asio::io_context& context) : context_(context) {}
  void List(node::ConversationQuery query,
            std::function<void(Result<node::ConversationPage>)> done) override {
    Later(file_->List(query), std::move(done));
  }
  void Read(uint64_t owner, const ConversationId& id, std::optional<MessageId> after,
            std::function<void(Result<node::MessagePage>)> done) override {
    constexpr size_t kPage = 100;
    Later(file_->Read(owner, id, after, kPage), std::move(done));
  }
  void Change(const wire::RowKey& key, node::RowChange change,
              std::function<void(Result<node::WrittenRow>)> done) override {
    const auto written = file_->Change(key, change);
    const node::ConversationChange news{key.owner, key.conversation, false};
    if (written) {
      watchers_.Each([&](Watching& watching) {
        if (watching.owner == key.owner) watching.watcher.OnConversations({&news, 1});
      });
    }
    Later(written, std::move(done));
  }
  // A conversation in each part.
  void Import(std::vector<node::ImportedRow> rows,
              std::function<bool(const node::ImportProgress&)> go_on,
              std::function<void(Result<node::ImportProgress>)> done) override {
    node::ImportProgress progress{.total = store::CountConversations(rows)};
    for (auto rest = std::span<const node::ImportedRow>(rows); !rest.empty();) {
      size_t end = 1;
      while (end < rest.size() && !rest[end].key.message.IsZero()) ++end;
      const auto counts = file_->Import(rest.first(end));
      if (!counts)
        return Later<node::ImportProgress>(std::unexpected(counts.error()), std::move(done));
      progress.taken += *counts;
      rest = rest.subspan(end);
      if (!rest.empty() && !go_on(progress)) break;
    }
    Later<node::ImportProgress>(progress, std::move(done));
  }
  std::unique_ptr<node::ConversationSubscription> Watch(
      uint64_t owner, node::ConversationWatcher& watcher) override {
    auto watching = std::make_unique<Watching>(owner, watcher);
    watching->place = watchers_.Add(*watching);
    return watching;
  }

 private:
  struct Watching final : node::ConversationSubscription {
    Watching(uint64_t whose, node::ConversationWatcher& who) : owner(whose), watcher(who) {}
    const uint64_t owner;
    node::ConversationWatcher& watcher;
    std::unique_ptr<Listeners<Watching>::Place> place;
  };
  template <class T>
  void Later(Result<T> result, std::function<void(Result<T>)> done) {
    asio::post(context_, [result = std::move(result), done = std::move(done)] { done(result); });
  }
  asio::io_context& context_;
  const std::unique_ptr<store::ConversationFile> file_ =
      store::ConversationFile::Open({.path = "", .self = {}}).value();
  Listeners<Watching> watchers_;
};

class FakeApi final : public node::Api {
 public:
  explicit FakeApi(asio::io_context& loop) : context(loop) {}

  std::unique_ptr<node::Generation> Generate(node::GenerateRequest request,
                                             node::GenerateSink& sink) override {
    const MutexLock lock(mutex);
    last = request;
    last.lease = nullptr;
    if (request.model != "tiny" && request.model != "hub/tiny" && !FindPreset(request.model)) {
      sink.OnError({{ErrorCode::kNotFound, "the model '" + request.model + "' does not exist"},
                    node::Refusal::kUnknownModel});
      return nullptr;
    }
    if (script.refusal) {
      sink.OnError(*script.refusal);
      return nullptr;
    }
    return std::make_unique<FakeGeneration>(context, counters, script, sink, request);
  }
  // A token per byte.
  void Tokenize(node::GenerateRequest request,
                std::function<void(Result<node::TokenizedPrompt>)> done) override {
    {
      const MutexLock lock(mutex);
      last = request;
      last.lease = nullptr;
    }
    if (request.model != "tiny") return done(Unknown(request.model));
    node::TokenizedPrompt prompt{.text = request.prompt.value_or(""), .context = 512};
    for (const model::ChatMessage& message : request.messages)
      prompt.text += fmt::format("<{}>{}", message.role, message.content.value_or(""));
    for (const char c : prompt.text) prompt.ids.push_back(static_cast<uint8_t>(c));
    done(prompt);
  }
  void Detokenize(std::string model, std::vector<TokenId> ids,
                  std::function<void(Result<std::string>)> done) override {
    if (model != "tiny" && !FindPreset(model)) return done(Unknown(model));
    done(std::string(ids.begin(), ids.end()));
  }
  void DescribeModel(
      std::string model,
      std::function<void(Result<std::shared_ptr<const node::ModelDetails>>)> done) override {
    if (model != "tiny" && !FindPreset(model)) return done(Unknown(model));
    done(std::make_shared<const node::ModelDetails>(
        node::ModelDetails{.metadata = {{"general.architecture", "llama"},
                                        {"general.license", "mit"},
                                        {"llama.context_length", uint64_t{512}}},
                           .chat_template = "{{ messages }}",
                           .weights = "Q8_0",
                           .parameters = 7'600'000,
                           .tools = true,
                           .bos = "<s>",
                           .eos = "</s>",
                           .context = 512}));
  }
  grammar::Cache& grammars() override { return compiled; }
  static std::unexpected<Error> Unknown(const std::string& model) {
    return Fail(ErrorCode::kNotFound, "there is no model '{}'", model);
  }
  std::vector<node::ModelView> Models() const override {
    std::vector<node::ModelView> models = {{.name = "tiny",
                                            .bytes = 1000,
                                            .architecture = "llama",
                                            .context = 512,
                                            .layers = 8,
                                            .created = 1700000000,
                                            .local = true},
                                           {.name = "hub/tiny", .context = 2048}};
    for (const auto& [name, preset] : presets)
      models.push_back({.name = name, .context = 512, .base = preset->base});
    return models;
  }
  Result<node::ModelPlace> FindPlace(const std::string& model) const override {
    if (model != "tiny") return Unknown(model);
    return node::ModelPlace{
        .name = "tiny", .path = "/models/tiny.gguf", .devices = {"kitchen", "desk"}};
  }
  void Diagnose(std::function<void(std::vector<node::Finding>)> done) override {
    done({{.id = "clock", .title = "the clock is right"},
          {"disk", node::FindingState::kProblem, "the disk is full", "0 B of 1 GiB", "make room"}});
  }
  std::shared_ptr<const node::Preset> FindPreset(const std::string& name) const override {
    const auto found = presets.find(name);
    return found == presets.end() ? nullptr : found->second;
  }
  void SavePreset(node::Preset preset, std::function<void(Result<void>)> done) override {
    if (preset.base != "tiny") return done(Unknown(preset.base));
    if (preset.name == "hub/tiny")
      return done(Fail(ErrorCode::kInvalid, "'{}' is the name of a model", preset.name));
    presets[preset.name] = std::make_shared<const node::Preset>(preset);
    done({});
  }
  node::ClusterView Cluster() const override {
    node::ClusterView view{.self = Id(1), .neighbors_of_other_clusters = 3};
    wire::NodeRecord record{.id = Id(1),
                            .name = "kitchen",
                            .addresses = {{"10.0.0.1", 7}, {"fe80::1", 8}},
                            .devices = {{.name = "Ryzen",
                                         .isa = "avx2",
                                         .cores = 2,
                                         .memory_total = 1 << 30,
                                         .decode_gbps = 9.5}}};
    record.models = {{.name = "tiny", .file_bytes = 1000}};
    view.nodes = {{.record = record, .state = "self"},
                  {.record = {.id = Id(2), .name = "desk"}, .state = "alive", .rtt_ms = 0.4}};
    view.instances = {{.summary = {.plan = FakePlan(),
                                   .state = wire::InstanceState::kReady,
                                   .active_requests = 1},
                       .state = "ready",
                       .reason = "two are faster",
                       .predicted_tokens_per_second = 42}};
    return view;
  }
  std::vector<node::RequestView> RequestList() const override { return FakeRequests(); }
  uint64_t RequestListVersion() const override { return 1; }
  std::optional<node::RequestView> FindRequest(const RequestId& call) const override {
    for (const node::RequestView& request : FakeRequests())
      if (request.id == call) return request;
    return std::nullopt;
  }
  std::optional<node::RequestTrace> TraceOf(const RequestId& call) const override {
    if (call != FakeTrace().id) return std::nullopt;
    return FakeTrace();
  }
  bool CancelCall(const RequestId& call) override { return call == FakeTrace().id; }
  node::NodeMetrics Metrics() const override {
    return {.loop = {.count = 10,
                     .total = std::chrono::milliseconds(7),
                     .longest = std::chrono::milliseconds(3),
                     .within = {8, 10, 10, 10}},
            .requests_active = 2,
            .generated_tokens = 1234,
            .replicas_ready = {{"tiny", 2}},
            .memory_budget = uint64_t{1} << 40,
            .log_lines_lost = 3,
            .prefix_store_bytes = 8 << 20,
            .prefix_pages_written = 11,
            .prefix_pages_dropped = 12,
            .prefix_pages_loaded = 13,
            .prefix_pages_missed = 14,
            .prefix_restored_tokens = 3072,
            .models = {{"tiny", FakeModelMetrics()}},
            .kv_usage = {{"tiny", 0.25}},
            .led_steps = 4,
            .led_requests = 6,
            .moved_tokens = 512,
            .recomputed_tokens = 13,
            .devices = {{.id = Id(1),
                         .name = "kit\"chen",
                         .alive = true,
                         .memory_total = 1 << 30,
                         .share = 0.5,
                         .health = {.power = wire::PowerSource::kBattery,
                                    .charge = 40,
                                    .heat = wire::Heat::kHot,
                                    .celsius = 71,
                                    .memory_used = 1 << 20},
                         .stage_seconds = 1.5},
                        {.id = Id(2), .name = "desk"}},
            .links = {{.id = Id(2),
                       .name = "desk",
                       .rtt_ms = 0.5,
                       .sent_bytes = 1000,
                       .received_bytes = 2000}}};
  }
  node::Subscribed Subscribe(std::optional<uint64_t> since, node::EventWatcher& watcher) override {
    return log.Subscribe(since, watcher);
  }
  void MakePlan(std::string model, const node::Placing& placing,
                std::function<void(Result<node::PlanView>)> done) override {
    Answer<node::PlanView>(
        std::move(done),
        {.plan = FakePlan(),
         .expected = {.decode_tokens_per_second = 10,
                      .ttft_ms = 800,
                      .users = placing.users,
                      .total_tokens_per_second = 25,
                      .stage_ms = {60, 40}},
         .reason = model + (placing.split == wire::Split::kLayer ? " spread" : "") +
                   (placing.without.empty() ? "" : " without " + placing.without[0].Short()),
         .node_names = {"kitchen", "desk"},
         .devices = {{.id = Id(1), .name = "kitchen", .memory_available = 1 << 20}},
         .hops = {{.from = Id(1), .to = Id(2), .rtt_ms = 0.5}},
         .explanation = {"kitchen alone: 10.0 tokens/s; chosen"}});
  }
  void AddModel(std::string path, std::function<void(Result<std::string>)> done) override {
    Answer<std::string>(std::move(done), "name of " + path);
  }
  std::unique_ptr<node::Pulling> Pull(std::string model, node::PullWatcher& watcher) override {
    return std::make_unique<FakePulling>(context, counters, model, watcher);
  }
  std::vector<node::PullView> PullList() const override {
    const MutexLock lock(mutex);
    return script.pulls;
  }
  void Load(std::string model, const node::Placing& placing,
            std::function<void(Result<node::PlanView>)> done) override {
    MakePlan(model, placing, std::move(done));
  }
  void Unload(std::string, bool when_idle, std::function<void(Result<void>)> done) override {
    counters.unloads_when_idle += when_idle ? 1 : 0;
    done({});
  }
  node::Pairing& pairing() override { return fake_pairing; }
  node::Conversations* conversations() override {
    const MutexLock lock(mutex);
    return script.keeps_conversations ? &kept : nullptr;
  }
  void RemoveModel(std::string model, bool everywhere,
                   std::function<void(Result<std::vector<node::RemovalView>>)> done) override {
    std::vector<node::RemovalView> views = {
        {.device = "desk", .ok = true, .freed_bytes = 7, .said = "deleted 7 B"}};
    if (everywhere) views.push_back({.device = "laptop", .said = "is away"});
    if (model == "hub/tiny" || presets.erase(model) > 0) return done(views);
    done(Fail(ErrorCode::kNotFound, "no model '{}' was added", model));
  }

  template <class T>
  void Answer(std::function<void(Result<T>)> done, T value) {
    const MutexLock lock(mutex);
    asio::post(context, [done, value, fails = script.admin_fails] {
      if (fails) return done(Fail(ErrorCode::kNotFound, "no such file"));
      done(value);
    });
  }

  asio::io_context& context;
  FakePairing fake_pairing;
  FakeConversations kept{context};
  grammar::Cache compiled;
  mutable Mutex mutex;
  Script script;
  node::GenerateRequest last;
  Counters counters;
  std::map<std::string, std::shared_ptr<const node::Preset>> presets;
  node::EventLog log{1000};
};

}  // namespace

class TokenGate final : public Gatekeeper {
 public:
  std::optional<Caller> Identify(std::string_view credential) override {
    if (credential != kTestToken) return std::nullopt;
    return Caller{.scopes = Caller::ScopeBit(Scope::kAdmin)};
  }
  std::optional<Caller> CallerOf(uint64_t) override { return std::nullopt; }
  Parsed<> Admit(const Caller&) override { return {}; }
  Parsed<> CheckQuota(const Caller&) override { return {}; }
  std::optional<uint64_t> TokensLeft(const Caller&) override { return std::nullopt; }
  void CountTokens(const Caller&, uint64_t) override {}
};

struct TestServer::Impl {
  asio::io_context context{1};
  TokenGate gate;
  FakeApi api{context};
  std::unique_ptr<HttpServer> server;
  std::thread thread;

  template <class Work>
  auto OnLoop(Work work) {
    std::promise<decltype(work())> promise;
    asio::post(context, [&] { promise.set_value(work()); });
    return promise.get_future().get();
  }
};

TestServer::TestServer(HttpOptions options, Script script) : impl_(std::make_unique<Impl>()) {
  options.port = 0;
  if (options.gate == nullptr) options.gate = &impl_->gate;
  impl_->api.script = std::move(script);
  impl_->server = MakeServer(impl_->context, impl_->api, std::move(options));
  Run();
}
TestServer::TestServer(const ServiceParts& parts, HttpOptions options)
    : impl_(std::make_unique<Impl>()) {
  options.port = 0;
  if (options.gate == nullptr) options.gate = &impl_->gate;
  impl_->server = MakeServer(impl_->context, impl_->api, std::move(options), parts);
  Run();
}
TestServer::TestServer(HttpOptions options, std::vector<Dialect> (*dialects)(node::Api&))
    : impl_(std::make_unique<Impl>()) {
  options.port = 0;
  impl_->server = std::make_unique<HttpServer>(impl_->context, std::move(options));
  for (Dialect& dialect : dialects(impl_->api)) impl_->server->Add(std::move(dialect));
  Run();
}
void TestServer::Run() {
  const auto started = impl_->server->Start();
  EXPECT_TRUE(started) << started.error().message;
  impl_->thread = std::thread([this] {
    const auto guard = asio::make_work_guard(impl_->context);
    impl_->context.run();
  });
}
TestServer::~TestServer() {
  impl_->OnLoop([this] { return impl_->server.reset(), true; });
  EXPECT_EQ(alive(), 0);
  impl_->context.stop();
  impl_->thread.join();
}
uint16_t TestServer::port() const {
  return impl_->server->port();
}
void TestServer::Set(Script script) {
  const MutexLock lock(impl_->api.mutex);
  impl_->api.script = std::move(script);
}
void TestServer::OnLoop(const std::function<void()>& work) {
  impl_->OnLoop([&] { return work(), true; });
}
void TestServer::Add(node::StateEvent event) {
  impl_->OnLoop([&] { return impl_->api.log.Add(event), true; });
}
node::GenerateRequest TestServer::last_request() const {
  const MutexLock lock(impl_->api.mutex);
  return impl_->api.last;
}
int TestServer::alive() const {
  return impl_->api.counters.alive;
}
int TestServer::pauses() const {
  return impl_->api.counters.pauses;
}
int TestServer::resumes() const {
  return impl_->api.counters.resumes;
}
int TestServer::unloads_when_idle() const {
  return impl_->api.counters.unloads_when_idle;
}
uint64_t TestServer::tokens() const {
  return impl_->api.counters.tokens;
}
size_t TestServer::connections() const {
  return impl_->OnLoop([this] { return impl_->server->stats().connections; });
}
size_t TestServer::body_bytes() const {
  return impl_->server->stats().bodies->used();
}
std::string TestServer::StartAgain() {
  const auto started = MakeServer(impl_->context, impl_->api, {.port = port()})->Start();
  return started ? "" : started.error().message;
}

TestClient::TestClient(uint16_t port, int receive_buffer)
    : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (receive_buffer > 0)
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  const timeval limit{.tv_sec = 60};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
}
TestClient::~TestClient() {
  Close();
}
void TestClient::Close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}
void TestClient::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;  // the server may refuse early
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}
bool TestClient::Fill() {
  char chunk[65536];
  const ssize_t n = ::recv(fd_, chunk, sizeof(chunk), 0);
  if (n > 0) buffer_.append(chunk, static_cast<size_t>(n));
  return n > 0;
}
std::string TestClient::ReadSome() {
  if (buffer_.empty()) Fill();
  return std::exchange(buffer_, "");
}
std::string TestClient::ReadToEnd() {
  while (Fill()) {
  }
  return std::exchange(buffer_, "");
}
std::string TestClient::ReadChunks() {
  std::string body;
  for (;;) {
    size_t line;
    while ((line = buffer_.find("\r\n")) == std::string::npos) {
      if (!Fill()) return body + "<cut>";
    }
    const size_t size = std::stoul(buffer_.substr(0, line), nullptr, 16);
    if (size == 0) break;
    while (buffer_.size() < line + 2 + size + 2) {
      if (!Fill()) return body + "<cut>";
    }
    body += buffer_.substr(line + 2, size);
    buffer_.erase(0, line + 2 + size + 2);
  }
  // The last chunk, trailers and an empty line.
  while (buffer_.find("\r\n\r\n") == std::string::npos) {
    if (!Fill()) return body + "<cut>";
  }
  const size_t end = buffer_.find("\r\n\r\n");
  trailers_ = buffer_.substr(buffer_.find("\r\n") + 2, end - buffer_.find("\r\n"));
  buffer_.erase(0, end + 4);
  return body;
}
Answered TestClient::Read(bool head) {
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return {.body = buffer_};
  }
  Answered answer{.headers = buffer_.substr(0, end + 2)};
  buffer_.erase(0, end + 4);
  answer.status = std::atoi(answer.headers.c_str() + sizeof("HTTP/1.1"));
  constexpr std::string_view kSetCookie = "\r\nSet-Cookie: ";
  if (const size_t at = answer.headers.find(kSetCookie); at != std::string::npos) {
    const size_t begin = at + kSetCookie.size();
    answer.cookie = answer.headers.substr(begin, answer.headers.find(';', begin) - begin);
  }
  for (char& c : answer.headers) c = static_cast<char>(std::tolower(c));
  if (head || answer.status == 100 || answer.status == 204 || answer.status == 304) return answer;
  if (answer.has("transfer-encoding: chunked")) {
    answer.body = ReadChunks();
    answer.trailers = std::exchange(trailers_, {});
  } else if (const size_t at = answer.headers.find("content-length: "); at != std::string::npos) {
    const size_t size = std::stoul(answer.headers.substr(at + 16));
    while (buffer_.size() < size && Fill()) {
    }
    answer.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
  } else {
    answer.body = ReadToEnd();
  }
  return answer;
}

std::vector<Json> Answered::events() const {
  std::vector<Json> list;
  for (size_t at = body.find("data: "); at != std::string::npos; at = body.find("data: ", at + 1)) {
    if (at != 0 && body[at - 1] != '\n') continue;
    const std::string line = body.substr(at + 6, body.find('\n', at) - at - 6);
    if (line != "[DONE]") list.push_back(ParseJson(line).value_or(Json("no JSON: " + line)));
  }
  return list;
}

std::string RequestText(const std::string& method, const std::string& path, const std::string& body,
                        const std::string& headers) {
  const bool host = headers.find("Host:") != std::string::npos;
  const bool admin = path.find("/internal/") != std::string::npos &&
                     headers.find("Authorization:") == std::string::npos;
  return method + " " + path + " HTTP/1.1\r\n" + (host ? "" : "Host: localhost\r\n") + headers +
         (admin ? fmt::format("Authorization: Bearer {}\r\n", kTestToken) : "") +
         (body.empty() && method != "POST"
              ? ""
              : "Content-Length: " + std::to_string(body.size()) + "\r\n") +
         "\r\n" + body;
}
Answered Call(const TestServer& server, const std::string& method, const std::string& path,
              const std::string& body, const std::string& headers) {
  TestClient client(server.port());
  client.Write(RequestText(method, path, body, headers));
  return client.Read(method == "HEAD");
}
Answered Post(const TestServer& server, const std::string& path, const Json& body) {
  return Call(server, "POST", path, body.dump());
}
bool WaitUntil(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace exo::service
