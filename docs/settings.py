"""What each variable is for, in the order of the reference; ``docs/generate.py`` makes it a page."""

SETTINGS = {
    "CLASSIC_INF_WORKFLOW_CLASS": (
        "follows from the model's file",
        "fully qualified class of the workflow",
    ),
    "CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS": (
        "`[]`",
        "its positional arguments, a JSON list",
    ),
    "CLASSIC_INF_WORKFLOW_KW_ARGS": (
        "`{}`",
        "its keyword arguments, a JSON object",
    ),
    "CLASSIC_INF_ALLOWED_MODELS": (
        "`[]`",
        "references of the models that a request may name beside the configured one, a JSON list",
    ),
    "CLASSIC_INF_MAX_MODELS": (
        "`4`",
        "how many of those are loaded at a time",
    ),
    "INFERNET_AUTH": (
        "`auto`",
        "who may ask: `bearer` (holders of a token), `none` (anybody), `auto`",
    ),
    "INFERNET_BEARER_TOKENS": (
        "",
        "the tokens, comma-separated, each of at least 16 characters",
    ),
    "INFERNET_BEARER_SECRET_ARN": (
        "",
        "instead, the secret or SecureString parameter that holds them",
    ),
    "HUGGING_FACE_HUB_TOKEN": (
        "",
        "reads private repositories; `HF_TOKEN` outranks it",
    ),
    "HF_TOKEN": (
        "",
        "the hub's own name for the same",
    ),
    "HUGGING_FACE_HUB_TOKEN_SECRET_ARN": (
        "",
        "instead, the secret or parameter that holds it",
    ),
    "MODEL_CACHE_DIR": (
        "`models` on the mounted EFS, else `/tmp/models`",
        "where fetched model files are kept",
    ),
    "CLASSIC_INF_MODEL_LOCK": (
        "",
        "path of a `model.lock`: nothing is loaded but what it lists",
    ),
    "TORCH_MODEL_FILE_NAME": (
        "`model.torch`",
        "the file of a `model_name`",
    ),
    "USE_JIT": (
        "`False`",
        "insist on TorchScript (which is otherwise recognised from the file)",
    ),
    "TORCH_SAFE_GLOBALS": (
        "",
        "import paths that a pickled module may use beside torch.nn's, comma-separated",
    ),
    "TORCH_ALLOW_PICKLE": (
        "`False`",
        "unpickle files whose content is pinned, of torch and of scikit-learn: their author can run any code",
    ),
    "INFERNET_LOAD": (
        "`auto`",
        "when the workflow is loaded: `auto`, `init` or `lazy`",
    ),
    "INFERNET_INIT_BUDGET_SECONDS": (
        "`8`",
        "how long an on-demand Lambda waits for it during init, which AWS cuts at 10 s",
    ),
    "INFERNET_RETRY_SECONDS": (
        "`5`",
        "how long a failed load is remembered before it is tried again",
    ),
    "INFERNET_DEADLINE_SECONDS": (
        "`170`",
        "how long a request waits for the workflow in server mode; on Lambda, as long as the invocation has",
    ),
    "INFERNET_MAX_BODY_BYTES": (
        "`6291456`",
        "the largest request body, Lambda's own limit by default",
    ),
    "INFERNET_MAX_ELEMENTS": (
        "`2000000`",
        "the most elements of a request, counted before an object is made of each",
    ),
    "INFERNET_MAX_CONCURRENCY": (
        "`64`",
        "how many requests each worker of a server answers at a time; more are a 503 with `Retry-After`",
    ),
    "INFERNET_LOG_LEVEL": (
        "`INFO`",
        "the lowest level that is written: `DEBUG`, `INFO`, `WARNING` or `ERROR`",
    ),
}
