// Answers that are several messages, each with a header that says what it is: gpt-oss' format.
//
//   <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…
//   <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>
#pragma once

#include "chat/answer_reader.h"

namespace exo::chat {

std::unique_ptr<AnswerReader> MakeChannelReader(std::shared_ptr<const AnswerFormat> format,
                                                ReaderOptions options);

}  // namespace exo::chat
