"""A saved router behind HTTP: choices, and chat with the chosen LLM. The only home of fastapi and uvicorn."""
