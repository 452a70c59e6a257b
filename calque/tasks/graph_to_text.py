"""Graph to text: facts as a graph or as triples, and texts that say them."""

from calque.tasks.task import Labels, Task, reading

GRAPH_TO_TEXT = Task(
    name="graph-to-text",
    metrics=("bleu", "chrf"),
    text={"joint": True},
    model={"head": {"kind": "pointer"}},
    labels=Labels(source="Graph", reference="Reference", output="Text"),
    read=reading(("triples", "texts"), ("triples", "text"), ("graph", "texts"), ("graph", "text")),
)
