// How much of everything a message may hold. A decoder refuses more (kCorrupt); an encoder cuts
// display texts and lists, so that a long error text never costs a session.
#pragma once

#include <cstdint>

#include "wire/messages.h"

namespace exo::wire {

inline constexpr uint32_t kMaxText = 4096;     // displayed reasons and details, bytes
inline constexpr uint32_t kMaxProof = 64;      // an HMAC-SHA-256 is 32
inline constexpr uint32_t kMaxHost = 64;       // numeric IPv6 with a zone is at most 62
inline constexpr uint32_t kMaxAddresses = 64;  // of one node: interfaces x families
inline constexpr uint32_t kMaxDevices = 32;    // of one node: a CPU and its GPUs
inline constexpr uint32_t kMaxLinks = 64;      // of one node: one to each other member
inline constexpr uint32_t kMaxPrefix = 128;    // bits of an IPv6 address
inline constexpr uint32_t kMaxFormats = 64;    // of weights: GGUF has 40
inline constexpr uint32_t kMaxModels = 1024;   // of one node's inventory
inline constexpr uint32_t kMaxDownloads = 32;  // of one node, at a time; also awaited
inline constexpr uint32_t kMaxRivals = 80;     // placements that a reply tells of: 16 of each kind
inline constexpr uint32_t kMaxReplicas = 32;   // of a model: a home has fewer devices that hold it
// A plan's and a request's adapters: kMaxAdapters, kMaxAdaptersUsed (messages.h).
inline constexpr uint32_t kMaxDesired = 1024;           // models that a cluster remembers
inline constexpr uint64_t kMaxWallMs = 1ull << 48;      // the year 10889: no clock says so
inline constexpr uint32_t kMaxHints = 256;              // several clusters' worth of a 64-node mesh
inline constexpr uint32_t kMaxPromptTokens = 1u << 20;  // 4 MiB of a control frame
inline constexpr uint32_t kMaxAnswerTokens = 1u << 16;  // in one Tokens message
inline constexpr uint32_t kMaxStopTokens = 256;
inline constexpr uint32_t kMaxReadTokens = 256;
inline constexpr uint32_t kMaxReadValues = 1u << 17;  // wider than any model's states
inline constexpr uint32_t kMaxSamplerSteps = 32;  // in a sampler's order: every one several times
inline constexpr uint32_t kMaxLogitBias = 1024;   // OpenAI's own limit is 300
inline constexpr uint32_t kMaxDryBreaks = 1u << 18;  // every token of a large vocabulary
inline constexpr uint32_t kMaxTopLogprobs = 20;      // OpenAI's
inline constexpr uint32_t kMaxGrammarState = 1u << 16;
inline constexpr uint32_t kMaxGrammarText = 1u << 20;  // of one part: 700 tools and more
inline constexpr uint32_t kMaxGrammarParts = 128;      // one for each tool that may be called
inline constexpr uint32_t kMaxStepItems = 1024;  // in one step; likewise its truncations and forks
inline constexpr uint32_t kMaxStepPages = 64;    // to restore, and to store, in one step
inline constexpr uint32_t kMaxStepCloses = 4096;
inline constexpr uint32_t kMaxStageTimes =
    kMaxStages + 1;  // every stage and the lead's output layer
// Between two tokens of a request: a prompt of 128 k tokens in steps of 256.
inline constexpr uint32_t kMaxStepTraces = 512;
inline constexpr uint32_t kMaxManifest = 64u
                                         << 20;   // file headers with a 256 k vocabulary are 12 MiB
inline constexpr uint32_t kMaxPairShare = 32;     // a point of ristretto255
inline constexpr uint32_t kMaxPairTag = 64;       // an HMAC-SHA-512
inline constexpr uint32_t kMaxPairSealed = 4096;  // a TrustUpdate of two entries is below 1 KiB
inline constexpr uint32_t kClusterSecretBytes = 32;
inline constexpr uint32_t kMaxTrustEntries = 4096;   // those that were forgotten stay for ever
inline constexpr uint32_t kMaxHeldBytes = 1u << 13;  // a bit for each of 65,536 tensors
inline constexpr uint32_t kMaxRowVersions = 1024;    // in one frame, 0.2 MiB; also rows asked for
// A row's text and data: kMaxRowBytes (messages.h).
// Verifier: nesting of the schema is at most 4 (summary, plan, vector, stage); tables at most those
// of full hints (256 x 64 addresses).
inline constexpr uint32_t kMaxDepth = 8;
inline constexpr uint32_t kMaxTables = 32768;
// Metadata of a frame before the peer is accepted: a Hello or a refusal.
inline constexpr uint32_t kMaxHandshakeFrame = 8192;

}  // namespace exo::wire
