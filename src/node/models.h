// The models this node knows: files in its model folders, files that the user named, and manifests
// of models that only peers hold. Opening a file (hashing it the first time) and parsing a
// vocabulary happen on the task queue; the maps live on the loop thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"
#include "net/event_loop.h"
#include "store/model.h"
#include "sys/task_queue.h"

namespace exo::node {

// What text in and out of a model needs. Immutable.
struct Vocabulary {
  std::shared_ptr<const model::Tokenizer> tokenizer;
  std::shared_ptr<const model::ChatTemplate>
      chat_template;                 // null: the model has none that we can run
  std::string template_error;        // why it is null
  std::vector<TokenId> stop_tokens;  // ids that end a generation
};

// Errors: those of the tokenizer; a template that cannot be used is not one (template_error).
Result<std::shared_ptr<const Vocabulary>> ParseVocabulary(const model::Gguf& gguf);

class Models {
 public:
  Models(net::EventLoop& loop, sys::TaskQueue& tasks, store::State& state,
         std::string prepared_folder)
      : loop_(loop), tasks_(tasks), state_(state), prepared_folder_(std::move(prepared_folder)) {}

  // Opens every .gguf of the folders and every registered file in the background; `changed` runs on
  // the loop after each. Files that cannot be used are logged and left out.
  void Scan(std::vector<std::string> folders, std::function<void()> changed);
  using Opened = std::function<void(Result<std::shared_ptr<const store::ModelFile>>)>;
  // Opens one file; it is known by its name until this node stops. done on the loop.
  void Open(std::string path, Opened done);
  // The same, and it is opened again at every start.
  void Add(std::string path, Opened done);

  // By name, id in hex, or path of a known file. Null when unknown.
  std::shared_ptr<const store::ModelFile> Find(const std::string& name) const;
  std::shared_ptr<const store::ModelFile> Find(const ModelId& id) const;
  std::vector<std::shared_ptr<const store::ModelFile>> All() const;
  // False while the first scan is going on: an unknown name may still appear.
  bool scanned() const { return pending_ == 0; }

  // Null unless LoadVocabulary has been here for this model.
  std::shared_ptr<const Vocabulary> FindVocabulary(const ModelId& model) const {
    const auto found = vocabularies_.find(model);
    return found == vocabularies_.end() ? nullptr : found->second;
  }
  // The vocabulary of a manifest, parsed once and kept. done on the loop.
  void LoadVocabulary(std::shared_ptr<const store::Manifest> manifest,
                      std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done);

 private:
  net::EventLoop& loop_;
  sys::TaskQueue& tasks_;
  store::State& state_;
  const std::string prepared_folder_;
  std::map<std::string, std::shared_ptr<const store::ModelFile>> by_name_;
  std::map<ModelId, std::shared_ptr<const Vocabulary>> vocabularies_;
  size_t pending_ = 0;
};

}  // namespace exo::node
