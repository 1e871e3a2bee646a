"""From a token store to global batches: tokenizer, objective, schedule, source, input."""
