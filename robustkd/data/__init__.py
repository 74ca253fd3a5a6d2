"""Images and labels: sources as published, views of them as shown, splits, manifests and batches."""
