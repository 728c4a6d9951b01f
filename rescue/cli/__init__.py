"""The command line of ``rescue``: one file per verb; only this and ``shell`` print, ask or exit."""
