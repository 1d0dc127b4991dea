#include "node/models.h"

#include "base/log.h"

namespace exo::node {
namespace {

// Only the first part of a split model stands for it.
bool IsLaterPart(const std::string& path) {
  const auto split = store::ParseModelPath(path);
  return split && split->paths.size() > 1 && split->paths[0] != path;
}

}  // namespace

Result<std::shared_ptr<const Vocabulary>> ParseVocabulary(const model::Gguf& gguf) {
  auto vocabulary = std::make_shared<Vocabulary>();
  vocabulary->tokenizer = TRY(model::Tokenizer::Load(gguf));
  for (TokenId id = 0; id < static_cast<TokenId>(vocabulary->tokenizer->vocab_size()); ++id) {
    if (vocabulary->tokenizer->IsEndOfGeneration(id)) vocabulary->stop_tokens.push_back(id);
  }
  const auto source = gguf.GetString("tokenizer.chat_template");
  if (!source) {
    vocabulary->template_error =
        "the model has no chat template; send a raw prompt to /v1/completions";
    return vocabulary;
  }
  auto parsed = model::ChatTemplate::Parse(*source);
  if (parsed) {
    vocabulary->chat_template = *parsed;
  } else {
    vocabulary->template_error =
        "the model's chat template cannot be used: " + parsed.error().message;
  }
  return vocabulary;
}

void Models::Scan(std::vector<std::string> folders, std::function<void()> changed) {
  std::vector<std::string> paths;
  for (const std::string& folder : folders) {
    for (const std::string& name : sys::ListFolder(folder)) {
      if (name.ends_with(".gguf")) paths.push_back(folder + "/" + name);
    }
  }
  for (std::string& path : state_.RegisteredModels()) paths.push_back(std::move(path));
  for (const std::string& path : paths) {
    if (IsLaterPart(path)) continue;
    ++pending_;
    Open(path, [this, path, changed](Result<std::shared_ptr<const store::ModelFile>> opened) {
      --pending_;
      if (!opened) LOG(kWarning, "leaving out a model: {}", opened.error().message);
      changed();
    });
  }
}

void Models::Add(std::string path, Opened done) {
  Open(std::move(path), [this, done](Result<std::shared_ptr<const store::ModelFile>> opened) {
    if (opened) {
      if (auto saved = state_.RegisterModel((*opened)->path()); !saved) {
        LOG(kWarning, "cannot remember the model: {}", saved.error().message);
      }
    }
    done(std::move(opened));
  });
}

void Models::Open(std::string path, Opened done) {
  tasks_.Post([this, path = sys::CanonicalPath(path), done = std::move(done)]() mutable {
    auto opened =
        store::ModelFile::Open(path, {.state = &state_, .prepared_folder = prepared_folder_});
    loop_.Post([this, opened = std::move(opened), done = std::move(done)]() mutable {
      if (opened) {
        const auto known = by_name_.find((*opened)->name());
        if (known != by_name_.end() &&
            known->second->manifest().id() != (*opened)->manifest().id() &&
            known->second->path() != (*opened)->path()) {
          opened = Fail(ErrorCode::kInvalid,
                        "{} has the name of another model, {}, but other contents; rename one of "
                        "the two files",
                        (*opened)->path(), known->second->path());
        } else {
          by_name_[(*opened)->name()] = *opened;
        }
      }
      done(std::move(opened));
    });
  });
}

std::shared_ptr<const store::ModelFile> Models::Find(const std::string& name) const {
  if (const auto found = by_name_.find(name); found != by_name_.end()) return found->second;
  for (const auto& [unused, file] : by_name_) {
    if (file->path() == name || file->manifest().id().Hex() == name) return file;
  }
  return nullptr;
}

std::shared_ptr<const store::ModelFile> Models::Find(const ModelId& id) const {
  for (const auto& [unused, file] : by_name_) {
    if (file->manifest().id() == id) return file;
  }
  return nullptr;
}

std::vector<std::shared_ptr<const store::ModelFile>> Models::All() const {
  std::vector<std::shared_ptr<const store::ModelFile>> all;
  for (const auto& [unused, file] : by_name_) all.push_back(file);
  return all;
}

void Models::LoadVocabulary(std::shared_ptr<const store::Manifest> manifest,
                            std::function<void(Result<std::shared_ptr<const Vocabulary>>)> done) {
  if (const auto found = vocabularies_.find(manifest->id()); found != vocabularies_.end()) {
    done(found->second);
    return;
  }
  tasks_.Post([this, manifest, done = std::move(done)]() mutable {
    auto parsed = ParseVocabulary(manifest->gguf());
    loop_.Post([this, manifest, parsed = std::move(parsed), done = std::move(done)]() mutable {
      if (parsed) vocabularies_[manifest->id()] = *parsed;
      done(std::move(parsed));
    });
  });
}

}  // namespace exo::node
