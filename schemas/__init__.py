"""The published contracts: JSON Schema, glossary and AsyncAPI, all generated from `tokenledger.records`."""
