// Names of models on the internet, as people and programs write them, and the files of a repository
// that such a name means. What is read here comes from strangers: a name that could leave its
// folder or its host is refused.
//
// Thread: pure, any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo::fetch {

enum class SourceKind : uint8_t {
  kHub,       // a repository of the Hugging Face hub
  kRegistry,  // a model of the Ollama registry
  kUrl,       // one GGUF file
};

struct Reference {
  SourceKind kind = SourceKind::kHub;
  std::string host = {};        // of a registry that is not the configured one; else empty
  std::string repository = {};  // "owner/repo", of a registry "library/name"; a whole URL
  std::string choice = {};      // a quantization or a file of the hub, a tag of a registry
  std::string revision = {};    // of the hub; empty: main

  // One text for each meaning, that ParseReference reads again: "hf:owner/repo:Q4_K_M".
  std::string Text() const;
  friend bool operator==(const Reference&, const Reference&) = default;
};

// hf:OWNER/REPO[:QUANTIZATION|:FILE][@REVISION], the same after hf.co/ or huggingface.co/ or with
// nothing before it; an address of a file's page on the hub; [ollama:]NAME[:TAG],
// ollama:OWNER/NAME[:TAG], HOST/OWNER/NAME[:TAG]; https://HOST/…/FILE.gguf.
// Errors: kInvalid with the text and what is possible.
Result<Reference> ParseReference(std::string_view text);

// Whether `text` may be a file of a repository: segments of printable text that stay below their
// folder.
bool IsSafeFileName(std::string_view text);

// A file of a repository, as its list says.
struct ListedFile {
  std::string name;  // with its folders
  uint64_t bytes = 0;
  std::string sha256 = {};  // lower-case hexadecimal; empty: not told
};

// The GGUF files of the model that `choice` means, its parts in order: a file by name, or the
// quantization (any case). Empty: Q4_K_M, else Q8_0, else the first. Files beside a model
// (mmproj, imatrix, drafts) are none. Errors: kNotFound naming what there is; kCorrupt (a part is
// missing).
Result<std::vector<ListedFile>> ChooseFiles(std::vector<ListedFile> listed,
                                            std::string_view choice);

// The bytes of all files of each quantization, of those that ChooseFiles would find.
std::map<std::string, uint64_t> QuantizationsOf(const std::vector<ListedFile>& listed);

// The quantization in a file's name: "Q4_K_M"; empty: it names none.
std::string QuantizationOf(std::string_view file);

// A file's name without folders, ".gguf" and the number of its part, and without dots in front,
// which would hide what is called so. Empty: nothing is left.
std::string StemOf(std::string_view file);

}  // namespace exo::fetch
