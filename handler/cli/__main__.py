from handler.cli import main

main()
