"""Answers for whole files of texts, on one machine or many: every row once, and a job that was killed goes on."""
