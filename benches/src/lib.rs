//! One bench per question.
