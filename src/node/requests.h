// Requests of clients of this node, from text to text: template, tokens, placement, submission, and
// the stream of text back. History, seed and sampler settings stay here, at the entry node,
// whatever computes the answer.
//
//   Generate ─> vocabulary ─> (task queue) render + tokenize ─> ensure instance ─> SubmitLocal ─>
//   tokens ─> text
//
// Thread: the loop thread; rendering and tokenizing run on the task queue.
#pragma once

#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cluster/effect.h"
#include "engine/text_stream.h"
#include "node/api.h"
#include "node/request_records.h"
#include "node/vocabulary.h"
#include "sys/system.h"
#include "sys/task_queue.h"

namespace exo::node {

// For the event log. Prompts and answers are never part of it.
struct RequestChange {
  std::string model;   // as the client wrote it
  const char* state;   // "started", "queued" or "ended"
  std::string detail;  // how it ended, or where it stands
};

// What Requests needs of the node around it.
class RequestHost {
 public:
  virtual ~RequestHost() = default;
  // A model by name, id or path, here or on a member. Errors: kNotFound (says which are known),
  // kInvalid (several different files of that name).
  virtual void FindModel(const std::string& name, std::function<void(Result<ModelId>)> done) = 0;
  virtual void GetVocabulary(
      const ModelId& model,
      std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) = 0;
  // Positions that a sequence of this model can have: of its instance, or of one that would be
  // made.
  virtual uint32_t ContextOf(const ModelId& model) const = 0;
  // Has the model running; done once, with the plan.
  virtual void Ensure(const ModelId& model, const Placing& placing,
                      std::function<void(Result<wire::Plan>)> done) = 0;
  // `adapters`: what the submit's mean.
  virtual void Submit(wire::Submit submit, const ModelId& model,
                      std::vector<wire::AdapterRef> adapters) = 0;
  virtual void CancelRequest(const RequestId& request) = 0;
  // The client reads more slowly than tokens come: none are generated for it until it is unpaused.
  virtual void PauseRequest(const RequestId& request, bool paused) = 0;
  virtual std::string NameOf(const NodeId& node) const = 0;
  // Compiled forms of answers. Outlives the tasks that use it.
  virtual grammar::Cache& grammars() = 0;
  // The text of each prompt is to be logged.
  virtual bool LogsPrompts() const { return false; }
  // For templates that write the date: seconds since 1970 of local time.
  virtual int64_t LocalTime() const { return sys::LocalSeconds(); }
  virtual void OnRequestChanged(const RequestId& request, const RequestChange& change) = 0;
};

struct Reading;

class Requests {
 public:
  Requests(net::EventLoop& loop, sys::TaskQueue& tasks, RequestHost& host);
  ~Requests();

  std::unique_ptr<Generation> Start(GenerateRequest request, GenerateSink& sink);
  // From the cluster core.
  void OnTokens(const cluster::RequestTokens& news);
  void OnQueued(const cluster::RequestQueued& news);
  void OnLost(const cluster::RequestLost& news) const;
  // `stages`: where it ran, when that is not where it was to run at first.
  void OnFinished(const wire::Finished& finished, std::vector<wire::StagePlan> stages = {},
                  wire::Codec codec = wire::Codec::kF32);
  // Every request fails with this error. Returns how many.
  size_t EndAll(const Error& error);
  // What is left of a client's call fails, because a person wants it. False: nothing is.
  bool Cancel(const RequestId& call);
  const RequestRecords& records() const { return records_; }
  size_t count() const { return requests_.size(); }
  // The fields about requests and tokens.
  NodeMetrics Metrics() const;
  // Tokens that a plan has generated for them, since it was made.
  uint64_t GeneratedBy(const PlanId& plan) const;
  // Seconds that each device has computed for requests that have ended.
  const std::map<NodeId, double>& stage_seconds() const { return stage_seconds_; }

 private:
  struct Request;
  struct Answer;
  struct Prepared;
  class Handle;

  template <class T>
  using Checked = std::expected<T, GenerateError>;
  // `log_as`: what the prompt is logged as; empty: it is not.
  static Checked<Prepared> Prepare(const GenerateRequest& request, const Vocabulary& vocabulary,
                                   int64_t local_time, grammar::Cache& grammars,
                                   const std::string& log_as);

  void OnVocabulary(const RequestId& id, Result<std::shared_ptr<const Vocabulary>> vocabulary);
  void OnPrepared(const RequestId& id, Checked<Prepared> prepared);
  static void Shorten(Request& request, uint32_t context);
  void RefuseLength(const Request& request, uint32_t context);
  void Place(const RequestId& id);
  void OnReady(const RequestId& id, Result<wire::Plan> plan);
  // That an answer can have, once its plan is known.
  static uint32_t MostTokens(const Request& request);
  void SubmitChoice(Request& request, std::vector<TokenId> prompt);
  // The other choices of its answer, once the prompt is in the KV cache: they fork its pages.
  // False: the answer has ended.
  bool BeginOthers(const RequestId& first);
  bool MayBeReadAgain(Request& request, const Error& error);
  void PlaceAgain(const RequestId& id, const Error& error);
  // Tells the client, once, that its request is in work.
  void Announce(const RequestId& id);
  void AnnounceAfter(Request& request, Time limit);
  void CountGenerated(const PlanId& plan, size_t tokens);
  void Deliver(const RequestId& id);
  // False when the request ended, or was paused, or goes on in a later turn of the loop.
  bool ShowPending(Request& request);
  void ShowToken(Request& request);
  // How its answer is read from now on.
  static void Read(Request& request, std::shared_ptr<const Reading> reading);
  // Tells the client what more of the text there is; `delta` has the tokens behind it. `last`: the
  // answer has ended. False: the request has.
  bool ShowText(Request& request, std::string_view text, Delta delta, bool last);
  void Finish(Request& request, wire::FinishReason reason, const wire::Finished* finished);
  GenerateStats StatsOf(const Request& request, const wire::Finished* finished) const;
  static void NotePlacement(const Request& request);
  static void NoteStages(const Request& request);
  void NoteTokens(Request& request, const cluster::RequestTokens& news, uint32_t cached);
  void Measure(Request& request, const cluster::RequestTokens& news, Time now);
  // How a request has ended, for the figures of its model.
  void MeasureEnd(const Request& request, RequestState state, wire::FinishReason reason);
  static void TracePreparation(Request& request, const Prepared& prepared);
  // How a request has ended: its state, the reason where it is not done, and the event log's line.
  struct Ending {
    RequestState state = RequestState::kDone;
    wire::FinishReason reason = wire::FinishReason::kStop;  // of kDone
    std::string why = {};
    std::string line;
  };
  // Takes the request out.
  std::unique_ptr<Request> End(const RequestId& id, Ending ending);
  void FailRequest(const RequestId& id, const GenerateError& error);
  void FailRequest(const RequestId& id, const Error& error, Refusal refusal) {
    FailRequest(id, GenerateError{.error = error, .refusal = refusal});
  }
  void SetPaused(const Answer& answer, bool paused);
  void Drop(const Answer& answer, std::string_view why);
  Request* Find(const RequestId& id);

  net::EventLoop& loop_;
  sys::TaskQueue& tasks_;
  RequestHost& host_;
  std::map<RequestId, std::unique_ptr<Request>> requests_;
  RequestRecords records_;
  std::map<std::string, ModelMetrics> meters_;  // by the name of the model that was placed
  std::map<NodeId, double> stage_seconds_;
  NodeMetrics totals_;  // counts since the start
  std::map<PlanId, uint64_t> generated_;
  // Callbacks that outlive this object see the flag and do nothing.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace exo::node
