//! safetensors, npy, npz and GGUF for lazulite.
